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
        "The most that chunks may take on disk. Close to it, copies that are only kept for speed go first, those unused\nfor longest before others; then copies that this node should hold, as far as enough other nodes hold them;\nthen uploads are refused (507). Unset: what the disk has but for `reserve`.",
    ),
    key(
        "store",
        "reserve",
        Example("\"1 GiB\""),
        "What uploads leave free of the disk, for the log, for collection and for other programs. Unset: a quarter of\n`segment_size`.",
    ),
    key(
        "gc",
        "interval",
        Default("\"12h\""),
        "Time between garbage collections. \"0s\" switches them off: run `tetryx-node gc --once` yourself.",
    ),
    key(
        "gc",
        "default_retention",
        Example("\"90d\""),
        "How long a cache without a retention period of its own keeps a path that nobody pulls. The node that leads goes\nby its own file: set the same on every node. Unset: for ever.",
    ),
    key(
        "gc",
        "garbage_max_percent",
        Default("10"),
        "How much of the pack files may be garbage after a collection, in percent (1 to 50). Pack files that hold more\nare rewritten: a lower share gives back more space and moves more data. Is the store nearly full, 1 holds.",
    ),
    key(
        "gc",
        "rewrite_rate",
        Default("\"32 MiB\""),
        "How much live data the periodic collection moves in a second when it rewrites pack files. `gc --once`, and a\ncollection because the store is nearly full, do not wait.",
    ),
    key(
        "scrub",
        "period",
        Default("\"30d\""),
        "Within this time every stored byte is read back, checked, and fetched anew from another node if it is bad.\n\"0s\" switches that off: run `tetryx-node scrub --once` yourself.",
    ),
    key(
        "scrub",
        "rate",
        Default("\"16 MiB\""),
        "The most that is read back in a second. If a round cannot end in time at that rate, the log says so.",
    ),
    key(
        "p2p",
        "listen",
        Default("\"[::]:4480\""),
        "Address and UDP port where other nodes reach this one for data and control. Port 0 takes any free port.",
    ),
    key(
        "p2p",
        "gossip_listen",
        Default("\"[::]:4481\""),
        "Address and UDP port for gossip. Port 0 takes any free port.",
    ),
    key(
        "p2p",
        "advertise",
        Default("[]"),
        "Hosts that other nodes are told to dial, best first: \"192.0.2.1\", or \"192.0.2.1:4480\" where a router\nmaps ports. Empty: the address listened on, or all addresses of the machine.",
    ),
    key(
        "p2p",
        "mdns",
        Default("true"),
        "Look for members on the local network, so that they are found when their addresses changed.",
    ),
    key(
        "p2p",
        "rate",
        Example("\"50 Mbit/s\""),
        "What every link of this node carries, when that is known, as on a satellite link: it is then sent at that\nrate whatever is lost. Unset: found out, as usual on the internet.",
    ),
    key(
        "p2p",
        "rtt",
        Example("\"600ms\""),
        "The round trip of every link, when that is known. Unset: measured.",
    ),
    key(
        "p2p",
        "links",
        Example("[{ zone = \"svalbard\", rate = \"10 Mbit/s\", rtt = \"600ms\" }]"),
        "Links for which `rate` and `rtt` differ, by the zone or the name (`node`) of the other side. The first that\nfits counts.",
    ),
    key(
        "replication",
        "copies",
        Default("3"),
        "How many nodes hold each path, spread over zones, unless its cache says otherwise.",
    ),
    key(
        "replication",
        "write_replicas",
        Default("2"),
        "How many nodes hold a path before its push is acknowledged. In a smaller cluster, all of them.",
    ),
    key(
        "replication",
        "weight",
        Default("100"),
        "This node's share of the copies relative to other nodes: 200 holds twice as much as 100, 0 nothing.",
    ),
    key(
        "replication",
        "background_rate",
        Example("\"5 Mbit/s\""),
        "What copying in the background may take of one link. Unset: what nobody else uses.",
    ),
    key(
        "replication",
        "hold_ttl",
        Default("\"10m\""),
        "How long chunks are kept for a push at another node that does not end.",
    ),
    key(
        "replication",
        "repair_after",
        Default("\"10m\""),
        "How long a node may be away before what it holds is copied elsewhere.",
    ),
    key(
        "replication",
        "keep_surplus",
        Default("\"1d\""),
        "How long a copy that this node need not hold is kept after it was last read here. It goes earlier when the\nstore is nearly full, and never before every node that should hold it has said that it does.",
    ),
    key(
        "raft",
        "profile",
        Default("\"auto\""),
        "How patient elections are: \"lan\" for one site, \"wan\" up to about 300 ms of round trip, \"geo\" beyond;\n\"auto\" goes by what was measured. All nodes of a cluster need the same.",
    ),
    key(
        "raft",
        "audit_every",
        Default("10000"),
        "After how many changes the nodes compare their states.",
    ),
    key(
        "log",
        "filter",
        Default("\"info,openraft=error,libp2p=warn\""),
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
