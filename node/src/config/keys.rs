//! Every key of `node.toml`, documented: the source of the generated file and of the hints on misspelt keys.

/// One key of the file.
pub(super) struct Key {
    /// The table it stands in; empty for the top level.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Its default, or an example, as TOML.
    pub(super) value: Value,
    pub(super) doc: &'static str,
}

/// What the generated file shows for a key.
pub(super) enum Value {
    /// The default.
    Default(&'static str),
    /// There is no default that can be written down; the line is a comment showing this example.
    Example(&'static str),
}

use Value::{Default, Example};

const fn key(section: &'static str, name: &'static str, value: Value, doc: &'static str) -> Key {
    Key {
        section,
        name,
        value,
        doc,
    }
}

/// In the order of the generated file.
pub(super) const KEYS: &[Key] = &[
    key(
        "",
        "name",
        Example("\"svalbard-1\""),
        "What people call this node. Unset: the machine's host name.",
    ),
    key(
        "",
        "zone",
        Default("\"default\""),
        "Where the node stands: 1 to 50 letters, digits, '-', '_' or '.'. Copies are spread over zones.",
    ),
    key(
        "",
        "data_dir",
        Example("\"/var/lib/tetryx\""),
        "The folder for everything durable: keys, chunks, the replicated log and state. An absolute path.\nUnset: $XDG_DATA_HOME/tetryx, or ~/.local/share/tetryx.",
    ),
    key(
        "http",
        "listen",
        Default("\"[::]:8080\""),
        "Address and port for Nix, tetryx-cli and other programs. [::] is every address of the machine, IPv4\nincluded; where IPv6 is switched off it becomes 0.0.0.0. Port 0 takes any free port and prints it.",
    ),
    key(
        "http",
        "public_url",
        Example("\"https://cache.example.org\""),
        "The URL by which clients reach this node, when a proxy stands in front. It is what `cache info` prints and\n`tetryx-cli use` writes. Unset: the address each client asked for.",
    ),
    key(
        "http",
        "connections_max",
        Default("4096"),
        "Connections served at once. More wait until one closes.",
    ),
    key(
        "http",
        "header_read_timeout",
        Default("\"30s\""),
        "How long a client may take to send the head of a request; also how long an idle connection is kept.",
    ),
    key(
        "http",
        "request_timeout",
        Default("\"60s\""),
        "How long the node may take to begin an answer. Does not apply to uploads of NARs.",
    ),
    key(
        "http",
        "body_idle_timeout",
        Default("\"60s\""),
        "How long the body of a request may stand still before the request is given up (408).",
    ),
    key(
        "http",
        "drain_timeout",
        Default("\"30s\""),
        "How long running requests may take to finish after SIGTERM or SIGINT.",
    ),
    key(
        "limits",
        "header_bytes_max",
        Default("\"32 KiB\""),
        "The largest request head, all headers together (431 above). Sizes are written like \"32 KiB\", \"1 GB\" or 4096.\nAt least 8 KiB: a token must fit.",
    ),
    key(
        "limits",
        "header_count_max",
        Default("64"),
        "The most headers in one request (431 above).",
    ),
    key(
        "limits",
        "json_body_max",
        Default("\"16 MiB\""),
        "The largest JSON request and the largest list of chunk hashes (413 above).",
    ),
    key(
        "limits",
        "nar_size_max",
        Default("\"64 GiB\""),
        "The largest NAR that may be uploaded, uncompressed (413 above).",
    ),
    key(
        "limits",
        "narinfo_size_max",
        Default("\"1 MiB\""),
        "The largest narinfo: bounds the references and signatures of one path (413 above).",
    ),
    key(
        "uploads",
        "session_ttl",
        Default("\"1h\""),
        "How long an upload session that nobody uses protects its chunks from collection. A client that comes back\nlater sends again what was collected.",
    ),
    key(
        "uploads",
        "sessions_max",
        Default("1024"),
        "Upload sessions open at once.",
    ),
    key(
        "store",
        "segment_size",
        Default("\"64 MiB\""),
        "The size at which a pack file is closed and the next one begun. Between 1 MiB and 1 GiB.",
    ),
    key(
        "store",
        "index_cache",
        Default("\"32 MiB\""),
        "Memory for the index of chunks.",
    ),
    key(
        "store",
        "quota",
        Example("\"500 GiB\""),
        "The most that chunks may take on disk; uploads beyond it are refused. Unset: what the disk has.",
    ),
    key(
        "gc",
        "interval",
        Default("\"12h\""),
        "Time between garbage collections. \"0s\" switches them off: run `tetryx-node gc --once` yourself.",
    ),
    key(
        "raft",
        "profile",
        Default("\"lan\""),
        "How patient elections are: \"lan\" for one site, \"wan\" up to about 250 ms of round trip, \"geo\" beyond.",
    ),
    key(
        "log",
        "filter",
        Default("\"info,openraft=error\""),
        "What is logged: error, warn, info, debug or trace, also by module: \"info,tetryx_store=debug\".",
    ),
    key(
        "log",
        "format",
        Default("\"human\""),
        "\"human\" or \"json\" (one object a line). Logs go to standard error.",
    ),
];

/// The documented configuration file that a first start writes.
pub fn generated() -> String {
    let mut text = String::from(
        "# Configuration of this Tetryx node. Written once, at the first start; yours from then on.\n\
         # Every key there is stands here. `tetryx-node check-config` checks your changes; a restart applies them.\n\
         # Durations are written like \"15s\", \"90m\" or \"12h\". Options on the command line go before this file.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text.push_str(&format!("\n[{section}]\n"));
        } else {
            text.push('\n');
        }
        for line in key.doc.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        match key.value {
            Default(value) => text.push_str(&format!("{} = {value}\n", key.name)),
            Example(value) => text.push_str(&format!("# {} = {value}\n", key.name)),
        }
    }
    text
}
