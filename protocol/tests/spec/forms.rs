//! The two forms of every type: text where people read it, raw bytes in postcard.

use std::fmt::{Debug, Write as _};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_protocol::cache::{CacheName, CachePattern, Replication, Retention};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_protocol::ground::{
    AntennaName, Direction, Link, LinkName, Maintenance, MissionName, SatelliteName, StationName,
};
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClientId, ClusterId, NodeId, ProposalId, TokenId, UploadId};
use tetryx_protocol::narinfo::Compression;
use tetryx_protocol::signature::{KeyName, NixPublicKey, NixSignature};
use tetryx_protocol::store_path::{StoreDir, StorePath, StorePathHash, StorePathName};
use tetryx_protocol::time::UtcTime;

use crate::fixtures::assert_golden_text;

const BYTES: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut index = 0;
    while index < 32 {
        bytes[index] = index as u8;
        index += 1;
    }
    bytes
};

/// One line for each value: its type, its JSON, its postcard in hex. Each must read back as the value.
#[derive(Default)]
struct Forms(String);

impl Forms {
    fn add<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T) {
        let json = serde_json::to_string(&value).unwrap();
        let bytes = postcard::to_allocvec(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
        assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), value);
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        writeln!(self.0, "{name} {json} {hex}").unwrap();
    }
}

fn short<const N: usize>() -> [u8; N] {
    std::array::from_fn(|index| BYTES[index])
}

#[test]
fn json_is_text_and_postcard_is_these_bytes() {
    let key_name: KeyName = "main-1".parse().unwrap();
    let pattern: CachePattern = "team-*".parse().unwrap();
    let permissions: CachePermissions = [CachePermission::Pull, CachePermission::Destroy]
        .into_iter()
        .collect();
    let proposal = ProposalId {
        client: ClientId::from_bytes(short()),
        serial: 300,
    };
    let grants = Grants {
        caches: [(pattern.clone(), permissions)].into(),
        missions: vec!["eo".to_owned()],
        stations: Vec::new(),
        admin: false,
    };
    let path: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools".parse().unwrap();
    let mut forms = Forms::default();
    forms.add("ChunkHash", ChunkHash::from_bytes(BYTES));
    forms.add("ManifestHash", ManifestHash::from_bytes(BYTES));
    forms.add("NarHash", NarHash::from_bytes(BYTES));
    forms.add("FileHash", FileHash::from_bytes(BYTES));
    forms.add("UtcTime", UtcTime::from_unix_ms(1_772_452_990_001));
    forms.add("NodeId", NodeId::from_bytes(BYTES));
    forms.add("ClusterId", ClusterId::from_bytes(short()));
    forms.add("TokenId", TokenId::from_bytes(short()));
    forms.add("UploadId", UploadId::from_bytes(short()));
    forms.add("ClientId", ClientId::from_bytes(short()));
    forms.add("ProposalId", proposal);
    forms.add("StoreDir", StoreDir::default());
    forms.add("StorePathHash", StorePathHash::from_bytes(short()));
    forms.add("StorePathName", path.name.clone());
    forms.add("StorePath", path);
    forms.add("KeyName", key_name.clone());
    forms.add("NixPublicKey", NixPublicKey::new(key_name.clone(), BYTES));
    forms.add(
        "NixSignature",
        NixSignature::new(key_name, std::array::from_fn(|index| index as u8)),
    );
    forms.add("Compression", Compression::Zstd);
    forms.add("CacheName", "main".parse::<CacheName>().unwrap());
    forms.add("CachePattern", pattern);
    forms.add("Retention::Default", Retention::Default);
    forms.add("Retention::Period", Retention::Period { seconds: 3_600 });
    forms.add("Retention::Forever", Retention::Forever);
    forms.add("Replication::Default", Replication::Default);
    forms.add("Replication::Copies", Replication::Copies(3));
    forms.add("Replication::All", Replication::All);
    forms.add("CachePermissions", permissions);
    forms.add("Grants", grants.clone());
    forms.add(
        "Grants::stations",
        Grants {
            stations: vec!["north-*".to_owned()],
            ..grants
        },
    );
    forms.add("MissionName", "eo".parse::<MissionName>().unwrap());
    forms.add("SatelliteName", "ISS (ZARYA)".parse::<SatelliteName>().unwrap());
    forms.add("StationName", "north-1".parse::<StationName>().unwrap());
    forms.add("AntennaName", "dish".parse::<AntennaName>().unwrap());
    let link = Link {
        name: "s-band".parse::<LinkName>().unwrap(),
        direction: Direction::Up,
        frequency_hz: 2_050_000_000,
    };
    forms.add("Link", link);
    let maintenance = Maintenance {
        from: UtcTime::from_unix_ms(1_772_452_990_001),
        to: UtcTime::from_unix_ms(1_772_453_990_001),
        reason: "wind".to_owned(),
    };
    forms.add("Maintenance", maintenance);
    assert_golden_text("forms_v1.txt", include_str!("../golden/forms_v1.txt"), &forms.0);
}

#[test]
fn invalid_values_do_not_come_in_through_serde() {
    fn refused<T: DeserializeOwned>(json: &str) {
        assert!(serde_json::from_str::<T>(json).is_err(), "{json}");
        if let Ok(text) = serde_json::from_str::<String>(json) {
            let bytes = postcard::to_allocvec(&text).unwrap();
            assert!(postcard::from_bytes::<T>(&bytes).is_err(), "{json} as postcard");
        }
    }
    refused::<StoreDir>(r#""/nix/../etc""#);
    refused::<StorePathName>(r#""a/b""#);
    refused::<StorePath>(r#""../../etc/passwd""#);
    refused::<CacheName>(r#""a b""#);
    refused::<SatelliteName>(r#""a/b""#);
    refused::<StationName>(r#"" a""#);
    refused::<CachePattern>(r#""[a]""#);
    refused::<KeyName>(r#""a:b""#);
    refused::<Compression>(r#""rar""#);
    refused::<NodeId>("7");
    refused::<ChunkHash>("null");
}

#[test]
fn the_errors_of_serde_say_what_is_wrong() {
    let error = serde_json::from_str::<CacheName>(r#""a b""#)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("\"a b\" is not a cache name: expected 1 to 50 characters"),
        "{error}"
    );
    let error = serde_json::from_str::<NarHash>("5").unwrap_err().to_string();
    assert!(error.contains("expected NAR hash"), "{error}");
}
