//! narinfo and nix-cache-info. Vectors: what `nix copy --to file://…?secret-key=…` of Nix 2.8 wrote, and
//! cache.nixos.org.

use proptest::prelude::*;
use tetryx_protocol::cache_info::NixCacheInfo;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::narinfo::{
    Compression, NarInfo, NarInfoError, check_content_address, check_system, fingerprint,
};
use tetryx_protocol::store_path::{StoreDir, StorePath};

use crate::fixtures::{damaged_text, damages, nar_info};

const NET_TOOLS: &str = include_str!("../golden/cache_nixos_org_net_tools.narinfo.txt");
const SELF_REFERRING: &str = include_str!("../golden/nix_2_8_t_1_0.narinfo.txt");
const GOLDENS: [&str; 5] = [
    NET_TOOLS,
    SELF_REFERRING,
    include_str!("../golden/nix_2_8_a_txt.narinfo.txt"),
    include_str!("../golden/nix_2_8_b_txt.narinfo.txt"),
    include_str!("../golden/nix_2_8_z_c_1___txt.narinfo.txt"),
];

fn parse(text: &str) -> Result<NarInfo, NarInfoError> {
    NarInfo::parse(text, &StoreDir::default())
}

/// The narinfo of net-tools with one line replaced.
fn net_tools_with(key: &str, line: &str) -> String {
    let replace = |old: &str| {
        if old.starts_with(&format!("{key}: ")) {
            line.to_owned()
        } else {
            format!("{old}\n")
        }
    };
    NET_TOOLS.lines().map(replace).collect()
}

#[test]
fn what_nix_and_cache_nixos_org_write_we_write_to_the_byte() {
    for text in GOLDENS {
        assert_eq!(parse(text).unwrap().to_text(&StoreDir::default()), text);
    }
}

#[test]
fn every_field_of_a_real_narinfo_is_read() {
    let info = parse(NET_TOOLS).unwrap();
    assert_eq!(info.store_path.name.as_str(), "net-tools-1.60_p20170221182432");
    assert_eq!(
        info.url,
        "nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz"
    );
    assert_eq!(info.compression, Compression::Xz);
    assert_eq!(
        info.file_hash.unwrap().to_nix32(),
        "1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d"
    );
    assert_eq!((info.file_size, info.nar_size), (Some(114_980), 464_152));
    assert_eq!(info.references.len(), 1);
    assert!(info.deriver.unwrap().is_derivation());
    assert_eq!(info.signatures[0].name().as_str(), "cache.nixos.org-1");
    assert_eq!((info.system, info.ca), (None, None));
}

#[test]
fn the_fingerprint_is_nixs() {
    let info = parse(SELF_REFERRING).unwrap();
    assert_eq!(
        info.fingerprint(&StoreDir::default()),
        "1;/nix/store/8y34i4p09awv7hl7sx5g0lidb2xz8mrh-t-1.0;\
         sha256:0nwjl1jn6cdx57y46jw6cy9dy8fp0zgdiidynpv3m63pdyhmvr9f;264;\
         /nix/store/8y34i4p09awv7hl7sx5g0lidb2xz8mrh-t-1.0,\
         /nix/store/dcbgddg0w754rgasxgsfc5vr77cs1mzz-a.txt,\
         /nix/store/xfljycdkyw20jmw51z0pwc7400pia6mq-b.txt"
    );
}

#[test]
fn references_are_sorted_and_deduplicated_however_they_come() {
    let info = parse(SELF_REFERRING).unwrap();
    let [own, a, b] = [0, 1, 2].map(|index| info.references[index].clone());
    let shuffled = format!("References: {b}  {own} {a} {b} \n");
    let text: String = SELF_REFERRING
        .split_inclusive('\n')
        .map(|line| {
            if line.starts_with("References") {
                shuffled.as_str()
            } else {
                line
            }
        })
        .collect();
    assert_eq!(parse(&text).unwrap(), info);
    let dir = StoreDir::default();
    let unsorted = fingerprint(
        &dir,
        &info.store_path,
        info.nar_hash,
        info.nar_size,
        &[b.clone(), a, own, b],
    );
    assert_eq!(unsorted, info.fingerprint(&dir));
}

#[test]
fn hashes_are_accepted_in_hex_and_sri_as_attic_and_newer_nix_write_them() {
    let info = parse(NET_TOOLS).unwrap();
    let hex = data_encoding::HEXLOWER.encode(info.nar_hash.as_bytes());
    for hash in [format!("sha256:{hex}"), hex, info.nar_hash.to_sri()] {
        assert_eq!(
            parse(&net_tools_with("NarHash", &format!("NarHash: {hash}\n"))).unwrap(),
            info
        );
    }
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_ignored() {
    let mut lines: Vec<_> = NET_TOOLS.split_inclusive('\n').collect();
    lines.reverse();
    lines.insert(3, "Provenance: {\"x\": 1}\n");
    assert_eq!(parse(&lines.concat()).unwrap(), parse(NET_TOOLS).unwrap());
}

#[test]
fn no_compression_means_bzip2_as_in_nix() {
    assert_eq!(
        parse(&net_tools_with("Compression", "")).unwrap().compression,
        Compression::Bzip2
    );
    assert_eq!(
        parse(&net_tools_with("Compression", "Compression: \n"))
            .unwrap()
            .compression,
        Compression::Bzip2
    );
    let error = parse(&net_tools_with("Compression", "Compression: rar\n"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("narinfo, line 3: Compression is \"rar\";"),
        "{error}"
    );
}

#[test]
fn file_hash_file_size_deriver_and_signatures_may_be_absent_or_void() {
    let bare = NET_TOOLS
        .lines()
        .filter(|line| !line.starts_with("File") && !line.starts_with("Sig"));
    let bare: String = bare.map(|line| format!("{line}\n")).collect();
    let info = parse(&bare.replace(
        "10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv",
        "unknown-deriver",
    ));
    let info = info.unwrap();
    assert_eq!((info.file_hash, info.file_size), (None, None));
    assert!(info.deriver.is_none() && info.signatures.is_empty());
    assert_eq!(parse(&info.to_text(&StoreDir::default())).unwrap(), info);
}

#[test]
fn a_signature_of_unknown_shape_is_left_out_and_the_others_stay() {
    let two = format!("{NET_TOOLS}Sig: new-kind-1:@@@\nSig: nonsense\n");
    assert_eq!(parse(&two).unwrap().signatures.len(), 1);
}

#[test]
fn what_nix_refuses_is_refused_with_line_key_and_value() {
    let bad = |key: &str, line: &str| parse(&net_tools_with(key, line)).unwrap_err().to_string();
    let path = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools";
    for (key, line, message) in [
        (
            "StorePath",
            format!("StorePath: /gnu/store/{path}\n"),
            "narinfo, line 1: StorePath is \"/gnu/store/",
        ),
        (
            "StorePath",
            format!("StorePath: {path}\n"),
            "expected a path in /nix/store",
        ),
        ("StorePath", String::new(), "narinfo: StorePath is missing"),
        ("URL", "URL: \n".to_owned(), "narinfo: URL is missing"),
        (
            "FileHash",
            "FileHash: sha256:0\n".to_owned(),
            "narinfo, line 4: FileHash is \"sha256:0\";",
        ),
        (
            "FileHash",
            "FileHash: sha1:kpcd173cq987hw957sx6m0868wv3x6d9\n".to_owned(),
            "FileHash is",
        ),
        (
            "FileSize",
            "FileSize: many\n".to_owned(),
            "FileSize is \"many\"; expected a number of bytes",
        ),
        ("NarHash", String::new(), "narinfo: NarHash is missing"),
        (
            "NarSize",
            "NarSize: 0\n".to_owned(),
            "narinfo: NarSize is missing",
        ),
        ("NarSize", "NarSize: -1\n".to_owned(), "NarSize is \"-1\""),
        (
            "NarSize",
            "NarSize: 18446744073709551616\n".to_owned(),
            "expected a number of bytes",
        ),
        (
            "References",
            "References: /nix/store/x\n".to_owned(),
            "References is \"/nix/store/x\"",
        ),
        (
            "References",
            format!("References: {path}\nReferences: {path}\n"),
            "References appears a second time",
        ),
        (
            "Deriver",
            "Deriver: unknown\n".to_owned(),
            "Deriver is \"unknown\"",
        ),
        ("Sig", "CA: text:sha256:1\n".to_owned(), "CA is \"text:sha256:1\""),
        (
            "URL",
            "URL\n".to_owned(),
            "narinfo, line 2: \"URL\" is not a line of the form 'Key: value'",
        ),
    ] {
        let error = bad(key, &line);
        assert!(error.contains(message), "{line:?} gives {error:?}");
    }
    assert!(matches!(
        parse(""),
        Err(NarInfoError::Missing { key: "StorePath" })
    ));
    let cut = NET_TOOLS.trim_end_matches('\n');
    assert!(
        matches!(parse(cut), Err(NarInfoError::NotALine { line: 10, .. })),
        "the last newline is needed"
    );
    assert!(
        parse(&NET_TOOLS.replace('\n', "\r\n")).is_err(),
        "Nix takes the carriage return for part of the value"
    );
}

#[test]
fn a_second_content_address_is_refused() {
    let ca = "CA: text:sha256:0q0hnl0a3h1k9rqszkgxg9rl4gkw6wnz8ggsi2919nd2x6f8vadn\n";
    assert!(parse(&format!("{NET_TOOLS}{ca}")).unwrap().ca.is_some());
    assert!(matches!(
        parse(&format!("{NET_TOOLS}{ca}{ca}")),
        Err(NarInfoError::Repeated { line: 12, key: "CA" })
    ));
}

#[test]
fn free_text_cannot_add_a_line() {
    let mut info = parse(NET_TOOLS).unwrap();
    let lines = NET_TOOLS.lines().count();
    info.url = "nar/x\nURL: http://evil".to_owned();
    info.system = Some("x\r\nSig: evil".to_owned());
    info.ca = Some("text:\nStorePath: evil".to_owned());
    let text = info.to_text(&StoreDir::default());
    assert_eq!(text.lines().count(), lines + 2, "{text}");
    assert!(check_system("x86_64-linux\nURL: x").is_err() && check_system("").is_err());
    assert!(check_system("x86_64-linux").is_ok() && check_system("builtin").is_ok());
}

#[test]
fn content_addresses_are_those_of_nix() {
    let hash = NarHash::of(b"").to_nix32();
    let hex = "a".repeat(40);
    for text in [
        format!("text:sha256:{hash}"),
        format!("fixed:sha256:{hash}"),
        format!("fixed:r:sha256:{hash}"),
        format!("fixed:git:sha1:{hex}"),
        "fixed:sha1:kpcd173cq987hw957sx6m0868wv3x6d9".to_owned(),
        "fixed:r:md5:0g1q6hq2qa1440f1h50h1h4080".to_owned(),
    ] {
        assert!(check_content_address(&text).is_ok(), "{text}");
    }
    for text in [
        String::new(),
        "fixed:".to_owned(),
        format!("sha256:{hash}"),
        format!("text:r:sha256:{hash}"),
        format!("fixed:r:sha1:{hash}"),
        format!("fixed:x:sha256:{hash}"),
        format!("text:sha256:{hash}\n"),
        format!("text:blake3:{hash}"),
    ] {
        assert!(check_content_address(&text).is_err(), "{text}");
    }
}

#[test]
fn cache_info_is_written_as_cache_nixos_org_writes_it() {
    let text = include_str!("../golden/cache_nixos_org.nix-cache-info.txt");
    let info: NixCacheInfo = text.parse().unwrap();
    assert_eq!(
        (info.store_dir.as_str(), info.want_mass_query, info.priority),
        ("/nix/store", true, 40)
    );
    assert_eq!(info.to_string(), text);
}

#[test]
fn cache_info_without_keys_has_nixs_defaults() {
    let info: NixCacheInfo = "StoreDir: /gnu/store\nUnknown: 1\nno colon\n".parse().unwrap();
    assert_eq!(
        (info.store_dir.as_str(), info.want_mass_query, info.priority),
        ("/gnu/store", false, 50)
    );
    let error = "\nPriority: high\n"
        .parse::<NixCacheInfo>()
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "nix-cache-info, line 2: Priority is \"high\"; expected a number from 0"
    );
    assert!("StoreDir: nix/store".parse::<NixCacheInfo>().is_err());
}

#[test]
fn every_compression_reads_what_it_writes() {
    for name in "none br bzip2 compress grzip gzip lrzip lz4 lzip lzma lzop xz zstd".split(' ') {
        assert_eq!(name.parse::<Compression>().unwrap().to_string(), name);
    }
}

proptest! {
    #[test]
    fn a_narinfo_round_trips_in_any_store_directory(info in nar_info(), dir in "(/[a-z]{1,8}){1,3}") {
        let dir: StoreDir = dir.parse().unwrap();
        let text = info.to_text(&dir);
        prop_assert_eq!(NarInfo::parse(&text, &dir).unwrap(), info);
    }

    #[test]
    fn a_damaged_narinfo_never_panics_and_writes_what_reads_back(which in 0..GOLDENS.len(), damages in damages()) {
        let text = damaged_text(GOLDENS[which], &damages);
        if let Ok(info) = parse(&text)
            && !info.url.contains(char::is_control)
            && !info.system.iter().any(|system| system.contains(char::is_control))
        {
            prop_assert_eq!(parse(&info.to_text(&StoreDir::default())).unwrap(), info);
        }
        let _ = (text.parse::<NixCacheInfo>(), check_content_address(&text), text.parse::<StorePath>());
    }
}
