//! Hashes, nix32 and ids. Vectors: `nix hash file` and `nix hash to-base32` of Nix 2.8.

use proptest::prelude::*;
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClientId, NodeId, ProposalId};
use tetryx_protocol::{ProtocolError, nix32};

use crate::fixtures::{damaged_text, damages, noise};

/// Content, then its SHA-256 in nix32, hex and SRI.
const NIX_HASHES: [(&str, &str, &str, &str); 4] = [
    (
        "",
        "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ),
    (
        "a",
        "1fs8xspqaxw0p5r4wz0lz3pqd9sdvhirmcriqbxcmg8vr89835ya",
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=",
    ),
    (
        "abc",
        "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
    ),
    (
        "the quick brown fox",
        "13zw4lz56qqwp3hnlpnghi5wgvb1xbpk7s44ajv8xla12db3djwy",
        "9ecb36561341d18eb65484e833efea61edc74b84cf5e6ae1b81c63533e25fc8f",
        "sha256-nss2VhNB0Y62VIToM+/qYe3HS4TPXmrhuBxjUz4l/I8=",
    ),
];

#[test]
fn nix32_of_counting_bytes_is_what_nix_prints() {
    let bytes: Vec<u8> = (0..32).collect();
    let check = |bytes: &[u8], text: &str| {
        assert_eq!(nix32::encode(bytes), text);
        assert_eq!(nix32::decode(text).unwrap(), bytes);
    };
    check(&bytes, "07qy3lf1n6hr30bic58l2c91240g1q6hq2qa1440f1h50h1h4080");
    check(&bytes[..16], "0g1q6hq2qa1440f1h50h1h4080");
    check(&[0; 32], &"0".repeat(52));
    check(&[0xff; 32], &format!("1{}", "z".repeat(51)));
    check(
        &[bytes.as_slice(), &bytes].concat(),
        "0giw78w3cd1j60p2qai84qj2480y3hd1h5hl2880w30a103080h07qy3lf1n6hr30bic58l2c91240g1q6hq2qa1440f1h50h1h4080",
    );
    check(&[], "");
}

#[test]
fn nix32_has_one_text_for_a_value() {
    // 52 characters carry 260 bits; the four above the 256 must be zero.
    let beyond = format!("2{}", "0".repeat(51));
    assert!(
        matches!(nix32::decode(&beyond), Err(ProtocolError::InvalidNix32 { reason, .. }) if reason.contains("beyond"))
    );
    assert!(nix32::decode("0").is_err(), "one character is no byte");
    assert!(nix32::decode("00A").is_err() && nix32::decode("0e").is_err() && nix32::decode("ß").is_err());
}

#[test]
fn a_nar_hash_is_read_in_every_form_nix_reads_and_written_in_nix32() {
    for (content, base32, hex, sri) in NIX_HASHES {
        let hash = NarHash::of(content.as_bytes());
        let base64 = sri.strip_prefix("sha256-").unwrap();
        let forms = [
            base32.to_owned(),
            format!("sha256:{base32}"),
            hex.to_owned(),
            format!("sha256:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            sri.to_owned(),
            format!("sha256:{base64}"),
        ];
        for form in forms {
            assert_eq!(form.parse::<NarHash>().unwrap(), hash, "{form}");
            assert_eq!(
                form.parse::<FileHash>().unwrap(),
                FileHash::of(content.as_bytes()),
                "{form}"
            );
        }
        assert_eq!(hash.to_string(), format!("sha256:{base32}"));
        assert_eq!(
            (hash.to_nix32(), hash.to_sri()),
            (base32.to_owned(), sri.to_owned())
        );
    }
}

#[test]
fn hashing_piece_by_piece_is_hashing_the_whole() {
    let bytes = noise(1, 100_000);
    let mut hasher = NarHash::hasher();
    for block in bytes.chunks(777) {
        hasher.update(block);
    }
    assert_eq!(hasher.finish(), NarHash::of(&bytes));
}

#[test]
fn a_hash_of_another_function_or_length_is_refused_with_what_is_expected() {
    let (_, base32, hex, sri) = NIX_HASHES[0];
    let refused = [
        String::new(),
        "sha256:".to_owned(),
        format!("sha512:{hex}"),
        format!("sha1:{base32}"),
        format!("sha256-{base32}"),
        format!("SHA256:{base32}"),
        format!(" {base32}"),
        base32[1..].to_owned(),
        hex.replace('e', "g"),
        base32.replace('0', "e"),
        sri.trim_end_matches('=').to_owned(),
        sri.replace("sha256-", "sha512-"),
    ];
    for text in refused {
        let error = text.parse::<NarHash>().unwrap_err();
        assert!(
            matches!(error, ProtocolError::InvalidHash { what: "NAR hash", .. }),
            "{text}: {error}"
        );
    }
    let message = "sha256:short".parse::<NarHash>().unwrap_err().to_string();
    assert_eq!(
        message,
        "\"sha256:short\" is not a NAR hash: expected sha256: and 52 nix32 characters, 64 hex digits, or sha256- and base64"
    );
}

#[test]
fn a_chunk_is_named_by_the_blake3_of_its_bytes() {
    // The first test vector of the BLAKE3 paper's reference: the empty input.
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(ChunkHash::of(b"").to_string(), empty);
    assert_eq!(empty.parse::<ChunkHash>().unwrap(), ChunkHash::of(b""));
    assert_eq!(ManifestHash::of(b"").to_string(), empty);
    assert_eq!(ChunkHash::of(b"").fmt_short(), "af1349b9f5");
    assert!(
        empty[1..].parse::<ChunkHash>().is_err() && format!("sha256:{empty}").parse::<ChunkHash>().is_err()
    );
}

#[test]
fn a_long_refused_value_is_cut_in_the_message() {
    let message = "x".repeat(10_000).parse::<NodeId>().unwrap_err().to_string();
    assert!(
        message.len() < 300 && message.contains("(10000 bytes)"),
        "{message}"
    );
}

#[test]
fn a_proposal_id_is_client_slash_serial() {
    let id = ProposalId {
        client: ClientId::from_bytes([0xab; 16]),
        serial: 7,
    };
    assert_eq!(id.to_string(), format!("{}/7", "ab".repeat(16)));
    assert_eq!(id.to_string().parse::<ProposalId>().unwrap(), id);
    assert!("ab/7".parse::<ProposalId>().is_err() && "7".parse::<ProposalId>().is_err());
}

proptest! {
    #[test]
    fn nix32_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = nix32::encode(&bytes);
        prop_assert_eq!(text.len(), nix32::encoded_len(bytes.len()));
        prop_assert_eq!(nix32::decode(&text).unwrap(), bytes);
    }

    #[test]
    fn a_hash_round_trips_through_its_text(bytes in any::<[u8; 32]>()) {
        let nar = NarHash::from_bytes(bytes);
        prop_assert_eq!(nar.to_string().parse::<NarHash>().unwrap(), nar);
        prop_assert_eq!(nar.to_sri().parse::<NarHash>().unwrap(), nar);
        let chunk = ChunkHash::from_bytes(bytes);
        prop_assert_eq!(chunk.to_string().parse::<ChunkHash>().unwrap(), chunk);
    }

    #[test]
    fn damaged_texts_of_hashes_and_ids_never_panic(bytes in any::<[u8; 32]>(), damages in damages()) {
        let nar = NarHash::from_bytes(bytes);
        for text in [nar.to_string(), nar.to_sri(), ChunkHash::from_bytes(bytes).to_string()] {
            let text = damaged_text(&text, &damages);
            let _ = (text.parse::<NarHash>(), text.parse::<ChunkHash>(), text.parse::<NodeId>());
            let _ = (text.parse::<ProposalId>(), nix32::decode(&text));
        }
    }
}
