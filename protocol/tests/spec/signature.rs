//! Keys and signatures. Vectors: a key of `nix-store --generate-binary-cache-key` and what Nix 2.8 signed with it,
//! and a path of cache.nixos.org.

use proptest::prelude::*;
use tetryx_protocol::ProtocolError;
use tetryx_protocol::narinfo::NarInfo;
use tetryx_protocol::signature::{KeyName, NixPublicKey, NixSecretKey, NixSignature};
use tetryx_protocol::store_path::StoreDir;

use crate::fixtures::{
    NIX_PUBLIC_KEY, NIX_SECRET_KEY, damaged_text, damages, key_name, nix_secret_key, signature,
};

const CACHE_NIXOS_ORG: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

#[test]
fn the_key_nix_generated_reads_back_and_has_the_public_half_nix_wrote() {
    let secret = nix_secret_key();
    assert_eq!(secret.to_secret_text().as_str(), NIX_SECRET_KEY);
    assert_eq!(secret.public_key().to_string(), NIX_PUBLIC_KEY);
    assert_eq!(
        NIX_PUBLIC_KEY.parse::<NixPublicKey>().unwrap(),
        secret.public_key()
    );
}

#[test]
fn what_nix_signs_we_sign_the_same_and_verify() {
    let secret = nix_secret_key();
    for text in [
        include_str!("../golden/nix_2_8_t_1_0.narinfo.txt"),
        include_str!("../golden/nix_2_8_a_txt.narinfo.txt"),
        include_str!("../golden/nix_2_8_b_txt.narinfo.txt"),
        include_str!("../golden/nix_2_8_z_c_1___txt.narinfo.txt"),
    ] {
        let info = NarInfo::parse(text, &StoreDir::default()).unwrap();
        let fingerprint = info.fingerprint(&StoreDir::default());
        assert_eq!(info.signatures, [secret.sign(&fingerprint)], "{fingerprint}");
        assert!(secret.public_key().verify(&fingerprint, &info.signatures[0]));
    }
}

#[test]
fn a_path_of_cache_nixos_org_verifies_under_its_published_key() {
    let text = include_str!("../golden/cache_nixos_org_net_tools.narinfo.txt");
    let info = NarInfo::parse(text, &StoreDir::default()).unwrap();
    let key: NixPublicKey = CACHE_NIXOS_ORG.parse().unwrap();
    let fingerprint = info.fingerprint(&StoreDir::default());
    assert!(key.verify(&fingerprint, &info.signatures[0]));
    assert!(!key.verify(&fingerprint.replace("464152", "464153"), &info.signatures[0]));
    let elsewhere = info.fingerprint(&"/gnu/store".parse().unwrap());
    assert!(
        !key.verify(&elsewhere, &info.signatures[0]),
        "the store directory is signed, too"
    );
}

#[test]
fn a_signature_counts_only_under_the_key_of_its_name() {
    let secret = nix_secret_key();
    let renamed = NixPublicKey::new("other-1".parse().unwrap(), *secret.public_key().as_bytes());
    let stranger = NixSecretKey::generate_from_seed("test.example-1".parse().unwrap(), [7; 32]);
    let made = secret.sign("1;text");
    assert!(secret.public_key().verify("1;text", &made));
    assert!(!renamed.verify("1;text", &made));
    assert!(!stranger.public_key().verify("1;text", &made));
}

#[test]
fn a_public_key_that_is_no_point_verifies_nothing() {
    let key = NixPublicKey::new("k-1".parse().unwrap(), [2; 32]);
    let made = NixSecretKey::generate_from_seed("k-1".parse().unwrap(), [7; 32]).sign("x");
    assert!(!key.verify("x", &made));
    // The neutral element as key and R, and 0 as S, satisfy the lax equation for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    let weak = NixPublicKey::new("k-1".parse().unwrap(), neutral);
    assert!(!weak.verify("anything", &NixSignature::new("k-1".parse().unwrap(), forged)));
}

#[test]
fn a_secret_key_shows_in_no_message() {
    let secret = nix_secret_key();
    assert_eq!(format!("{secret:?}"), "NixSecretKey(test.example-1:<redacted>)");
    let halves_swapped = NIX_SECRET_KEY.replace("TtUWjMNa", "TtUWjMNb");
    for text in [
        &NIX_SECRET_KEY[15..],
        &NIX_SECRET_KEY[..60],
        &halves_swapped,
        &format!("{NIX_SECRET_KEY}="),
    ] {
        let error = text.parse::<NixSecretKey>().unwrap_err();
        assert!(matches!(error, ProtocolError::InvalidSecretKey { .. }));
        assert!(
            !error.to_string().contains("TtUW") && !format!("{error:?}").contains("TtUW"),
            "{error:?}"
        );
    }
}

#[test]
fn malformed_keys_and_signatures_are_refused_with_what_is_expected() {
    let key = |text: &str| text.parse::<NixPublicKey>().unwrap_err().to_string();
    assert!(key("nocolon").contains("expected a name, a colon and base64"));
    assert!(key(":j4P4cV5sYFQ6IC6W07zQMNeEPuJOPueqyYanYJKXsS0=").contains("is not a key name"));
    assert!(key("k:j4P4").contains("expected base64 of 32 bytes after the colon"));
    assert!(key(&NIX_PUBLIC_KEY.replace('=', "")).contains("expected base64 of 32 bytes"));
    assert!(
        NIX_PUBLIC_KEY
            .parse::<NixSignature>()
            .unwrap_err()
            .to_string()
            .contains("64 bytes")
    );
    for name in ["", "a:b", "a b", "a\n", "ä", &"a".repeat(256)] {
        assert!(name.parse::<KeyName>().is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn keys_and_signatures_round_trip(name in key_name(), seed in any::<[u8; 32]>(), message in ".{0,60}") {
        let secret = NixSecretKey::generate_from_seed(name, seed);
        let again: NixSecretKey = secret.to_secret_text().parse().unwrap();
        let public: NixPublicKey = again.public_key().to_string().parse().unwrap();
        let made: NixSignature = again.sign(&message).to_string().parse().unwrap();
        prop_assert!(public.verify(&message, &made));
        let stored = postcard::to_allocvec(&(&public, &made)).unwrap();
        prop_assert_eq!(postcard::from_bytes::<(NixPublicKey, NixSignature)>(&stored).unwrap(), (public, made));
    }

    #[test]
    fn damaged_keys_and_signatures_never_panic(made in signature(), damages in damages()) {
        for text in [made.to_string(), NIX_PUBLIC_KEY.to_owned(), NIX_SECRET_KEY.to_owned()] {
            let text = damaged_text(&text, &damages);
            let _ = (text.parse::<NixSignature>(), text.parse::<NixPublicKey>(), text.parse::<NixSecretKey>());
        }
    }
}
