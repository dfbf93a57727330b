//! Store paths, by the rules of Nix (`checkName` in `src/libstore/path.cc`).

use proptest::prelude::*;
use tetryx_protocol::ProtocolError;
use tetryx_protocol::store_path::{NAME_LEN_MAX, StoreDir, StorePath, StorePathHash, StorePathName};

use crate::fixtures::{damaged_text, damages, store_path, store_path_hash};

const NET_TOOLS: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432";

fn name(text: &str) -> Result<StorePathName, ProtocolError> {
    text.parse()
}

#[test]
fn a_real_store_path_has_the_bytes_nix_gives_it() {
    let path: StorePath = NET_TOOLS.parse().unwrap();
    let bytes = data_encoding::HEXLOWER
        .decode(b"8a12321522fd91efbd60ebb2481af88580f61600")
        .unwrap();
    assert_eq!(path.hash.as_bytes().as_slice(), bytes);
    assert_eq!(path.name.as_str(), "net-tools-1.60_p20170221182432");
    assert_eq!(path.to_string(), NET_TOOLS);
    assert_eq!(
        path.to_absolute(&StoreDir::default()),
        format!("/nix/store/{NET_TOOLS}")
    );
    assert!(
        !path.is_derivation()
            && format!("{NET_TOOLS}.drv")
                .parse::<StorePath>()
                .unwrap()
                .is_derivation()
    );
}

#[test]
fn a_name_may_be_all_that_nix_allows() {
    for text in [
        "a",
        "-",
        "--",
        "0",
        ".gitignore",
        "..a",
        "...",
        ".a-b",
        "z_c+1?=.txt",
        "A.B-c_d+e?f=g",
    ] {
        assert_eq!(name(text).unwrap().as_str(), text);
    }
    assert!(name(&"a".repeat(NAME_LEN_MAX)).is_ok());
}

#[test]
fn a_name_may_not_be_what_nix_refuses() {
    for text in [
        "", ".", "..", ".-a", "..-a", ".-", "a b", "a/b", "../a", "a\n", "a\0", "ä", "a:b", "a*", "a~",
    ] {
        let error = name(text).unwrap_err();
        assert!(
            matches!(error, ProtocolError::InvalidStorePathName { .. }),
            "{text:?}: {error}"
        );
    }
    let error = name(&"a".repeat(NAME_LEN_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("at most 211 characters, this has 212"), "{error}");
}

#[test]
fn a_base_name_needs_its_hash_its_dash_and_its_name() {
    let hash = &NET_TOOLS[..32];
    let refused = [
        String::new(),
        hash.to_owned(),
        format!("{hash}-"),
        format!("{hash}+name"),
        format!("{}e-name", &hash[..31]),
        format!("{}A-name", &hash[..31]),
        format!("{}ß-name", &hash[..31]),
        format!("{}-name", &hash[..31]),
        format!("/nix/store/{hash}-name"),
        format!("{hash}-name/"),
        format!("{hash}-../../etc/passwd"),
    ];
    for text in refused {
        let error = text.parse::<StorePath>().unwrap_err();
        assert!(
            matches!(error, ProtocolError::InvalidStorePath { .. }),
            "{text}: {error}"
        );
    }
}

#[test]
fn an_absolute_path_lies_directly_in_its_store_directory() {
    let nix = StoreDir::default();
    let other: StoreDir = "/tmp/s/store".parse().unwrap();
    let path: StorePath = NET_TOOLS.parse().unwrap();
    for dir in [&nix, &other] {
        assert_eq!(
            StorePath::from_absolute(dir, &path.to_absolute(dir)).unwrap(),
            path
        );
    }
    for text in [
        format!("/nix/store//{NET_TOOLS}"),
        format!("/nix/store/{NET_TOOLS}/bin"),
        format!("/nix/store/x/../{NET_TOOLS}"),
        format!("/nix/stores/{NET_TOOLS}"),
        format!("/nix/store{NET_TOOLS}"),
        path.to_absolute(&other),
        NET_TOOLS.to_owned(),
        "/nix/store".to_owned(),
        "/nix/store/".to_owned(),
    ] {
        let error = StorePath::from_absolute(&nix, &text).unwrap_err();
        assert!(
            matches!(error, ProtocolError::InvalidStorePath { .. }),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_store_directory_is_absolute_and_in_its_normal_form() {
    for text in ["/nix/store", "/s", "/gnu/store", "/a/b/c", "/.hidden/..store"] {
        assert_eq!(text.parse::<StoreDir>().unwrap().as_str(), text);
    }
    for text in [
        "",
        "/",
        "nix/store",
        "/nix/store/",
        "//nix",
        "/nix//store",
        "/nix/./store",
        "/nix/../store",
        "/n\n",
    ] {
        let error = text.parse::<StoreDir>().unwrap_err();
        assert!(
            matches!(error, ProtocolError::InvalidStoreDir { .. }),
            "{text:?}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn a_store_path_round_trips(path in store_path()) {
        prop_assert_eq!(path.to_string().parse::<StorePath>().unwrap(), path.clone());
        let bytes = postcard::to_allocvec(&path).unwrap();
        prop_assert_eq!(postcard::from_bytes::<StorePath>(&bytes).unwrap(), path);
    }

    #[test]
    fn paths_sort_as_their_texts_do(mut paths in prop::collection::vec(store_path(), 2..12)) {
        let mut texts: Vec<_> = paths.iter().map(StorePath::to_string).collect();
        texts.sort();
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(StorePath::to_string).collect();
        prop_assert_eq!(sorted, texts);
    }

    #[test]
    fn hashes_sort_as_their_texts_do(a in store_path_hash(), b in store_path_hash()) {
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        prop_assert_eq!(a.to_string().parse::<StorePathHash>().unwrap(), a);
    }

    #[test]
    fn damaged_store_paths_never_panic_and_never_hold_a_slash(path in store_path(), damages in damages()) {
        let text = damaged_text(&path.to_string(), &damages);
        if let Ok(path) = text.parse::<StorePath>() {
            prop_assert_eq!(path.to_string(), text.clone());
            prop_assert!(!text.contains('/'));
        }
        let _ = (StorePath::from_absolute(&StoreDir::default(), &text), text.parse::<StoreDir>());
    }
}
