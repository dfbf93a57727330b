//! Tokens, and what forged ones look like.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::{ClusterId, TokenId};
use tetryx_protocol::time::UtcTime;
use tetryx_protocol::token::{TokenClaims, TokenError, TokenSigner, TokenVerifier};

use crate::fixtures::{assert_golden_text, damaged_text, damages};

const CLUSTER: ClusterId = ClusterId::from_bytes([0xc1; 16]);
const GOLDEN: &str = include_str!("../golden/token_v1.txt");

fn now() -> UtcTime {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

fn signer() -> TokenSigner {
    TokenSigner::from_seed([42; 32])
}

fn verifier() -> TokenVerifier {
    TokenVerifier::new(signer().public_key(), CLUSTER)
}

fn claims() -> TokenClaims {
    let grants: Grants =
        serde_json::from_str(r#"{"caches":{"main":{"r":1,"w":1},"team-*":{"r":1}},"missions":["eo"]}"#)
            .unwrap();
    TokenClaims {
        token: TokenId::from_bytes([0x70; 16]),
        cluster: CLUSTER,
        subject: "alice".to_owned(),
        issued: now(),
        not_before: now(),
        expires: now().plus(Duration::from_secs(3600)),
        grants,
    }
}

fn encode(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// The three parts of a token.
fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// Signs any header and claims with the cluster's own key.
fn sign_raw(header: &str, claims: &str) -> String {
    use ed25519_dalek::Signer;
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = ed25519_dalek::SigningKey::from_bytes(&[42; 32]).sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
}

fn hmac_sha256(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn verify(token: &str) -> Result<TokenClaims, TokenError> {
    verifier().verify(token, now())
}

#[test]
fn version_1_is_this_text() {
    assert_golden_text("token_v1.txt", GOLDEN, &format!("{}\n", signer().sign(&claims())));
    let [header, payload, _] = parts(GOLDEN.trim());
    let decode = |part: &str| String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap();
    assert_eq!(decode(header), r#"{"alg":"EdDSA","typ":"JWT"}"#);
    assert_eq!(decode(payload), serde_json::to_string(&claims()).unwrap());
}

#[test]
fn a_token_says_what_was_signed() {
    assert_eq!(verify(&signer().sign(&claims())).unwrap(), claims());
}

#[test]
fn the_signature_is_that_of_rfc_8037() {
    // Appendix A.4: no claims of ours, so it is refused, but only after its signature has been found good.
    let key = BASE64URL_NOPAD
        .decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        .unwrap();
    let verifier = TokenVerifier::new(key.try_into().unwrap(), CLUSTER);
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let error = verifier.verify(token, now()).unwrap_err();
    assert!(
        matches!(&error, TokenError::Malformed { reason } if reason.starts_with("its claims")),
        "{error}"
    );
    let other = token.replace("RXhh", "SXhh");
    assert_eq!(verifier.verify(&other, now()).unwrap_err(), TokenError::Signature);
}

#[test]
fn algorithm_none_is_refused_with_and_without_a_signature() {
    let token = signer().sign(&claims());
    let [_, payload, signature] = parts(&token);
    for alg in ["none", "None", "NONE", ""] {
        let header = encode(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        for signature in ["", signature] {
            let error = verify(&format!("{header}.{payload}.{signature}")).unwrap_err();
            assert_eq!(
                error,
                TokenError::Algorithm {
                    algorithm: format!("{alg:?}")
                }
            );
        }
    }
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let [_, payload, _] = parts(&signer().sign(&claims())).map(str::to_owned);
    let signed = format!("{}.{payload}", encode(r#"{"alg":"HS256","typ":"JWT"}"#));
    let mac = hmac_sha256(&signer().public_key(), signed.as_bytes());
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac));
    assert_eq!(
        verify(&token).unwrap_err(),
        TokenError::Algorithm {
            algorithm: "\"HS256\"".to_owned()
        }
    );
    // The same forgery under our own header fails as a signature of the wrong length.
    let token = format!(
        "{}.{payload}.{}",
        encode(r#"{"alg":"EdDSA"}"#),
        BASE64URL_NOPAD.encode(&mac)
    );
    assert!(matches!(
        verify(&token).unwrap_err(),
        TokenError::Malformed { .. }
    ));
}

#[test]
fn another_algorithm_is_refused_even_if_our_key_signed_it() {
    let claims = serde_json::to_string(&claims()).unwrap();
    for alg in ["RS256", "ES256", "Ed25519", "eddsa", "EdDSA "] {
        let token = sign_raw(&format!(r#"{{"alg":"{alg}"}}"#), &claims);
        assert!(
            matches!(verify(&token).unwrap_err(), TokenError::Algorithm { .. }),
            "{alg}"
        );
    }
}

#[test]
fn a_header_with_critical_extensions_or_a_doubled_algorithm_is_refused() {
    let claims = serde_json::to_string(&claims()).unwrap();
    let accepted = sign_raw(r#"{"alg":"EdDSA","kid":"ignored","jwk":{"kty":"OKP"}}"#, &claims);
    assert!(
        verify(&accepted).is_ok(),
        "fields that do not matter are ignored, above all keys"
    );
    for header in [
        r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
        r#"{"alg":"none","alg":"EdDSA"}"#,
        "[]",
        "{}",
    ] {
        let error = verify(&sign_raw(header, &claims)).unwrap_err();
        assert!(matches!(error, TokenError::Malformed { .. }), "{header}: {error}");
    }
}

#[test]
fn a_token_signed_by_another_key_is_refused() {
    let forged = TokenSigner::from_seed([43; 32]).sign(&claims());
    assert_eq!(verify(&forged).unwrap_err(), TokenError::Signature);
}

#[test]
fn changed_claims_are_refused() {
    let token = signer().sign(&claims());
    let [header, _, signature] = parts(&token);
    let mut more = claims();
    more.grants = Grants::admin();
    let payload = encode(&serde_json::to_string(&more).unwrap());
    assert_eq!(
        verify(&format!("{header}.{payload}.{signature}")).unwrap_err(),
        TokenError::Signature
    );
}

#[test]
fn a_key_that_is_none_verifies_nothing() {
    let broken = TokenVerifier::new([2; 32], CLUSTER);
    assert_eq!(
        broken.verify(&signer().sign(&claims()), now()).unwrap_err(),
        TokenError::Signature
    );
}

#[test]
fn a_token_of_another_cluster_is_refused() {
    let mut other = claims();
    other.cluster = ClusterId::from_bytes([0xc2; 16]);
    let error = verify(&signer().sign(&other)).unwrap_err();
    assert_eq!(
        error,
        TokenError::Cluster {
            found: other.cluster,
            expected: CLUSTER
        }
    );
}

#[test]
fn a_token_counts_until_just_before_it_expires() {
    let token = signer().sign(&claims());
    let expires = claims().expires;
    assert!(
        verifier()
            .verify(&token, expires.minus(Duration::from_millis(1)))
            .is_ok()
    );
    let error = verifier().verify(&token, expires).unwrap_err();
    assert_eq!(
        error,
        TokenError::Expired {
            expires,
            now: expires
        }
    );
    assert!(
        error.to_string().contains("expired at 2026-03-02T13:00:00.000Z"),
        "{error}"
    );
}

#[test]
fn a_token_counts_from_its_not_before_on() {
    let token = signer().sign(&claims());
    let early = now().minus(Duration::from_millis(1));
    let error = verifier().verify(&token, early).unwrap_err();
    assert_eq!(
        error,
        TokenError::NotYetValid {
            not_before: now(),
            now: early
        }
    );
    assert!(verifier().verify(&token, now()).is_ok());
}

#[test]
fn the_signature_is_judged_before_the_claims() {
    let mut expired = claims();
    expired.expires = now().minus(Duration::from_secs(9));
    let forged = TokenSigner::from_seed([43; 32]).sign(&expired);
    assert_eq!(verify(&forged).unwrap_err(), TokenError::Signature);
}

#[test]
fn what_is_no_token_is_malformed() {
    let token = signer().sign(&claims());
    let [header, payload, signature] = parts(&token);
    let padded = format!("{header}.{payload}.{signature}==");
    let four = format!("{token}.{signature}");
    let huge = format!("{header}.{}.{signature}", "A".repeat(1 << 20));
    let no_grants = sign_raw(r#"{"alg":"EdDSA"}"#, r#"{"sub":"alice"}"#);
    for text in [
        "",
        ".",
        "..",
        "Bearer x",
        "a.b",
        header,
        &token[1..],
        &padded,
        &four,
        &huge,
        &no_grants,
    ] {
        let error = verify(text).unwrap_err();
        assert!(
            matches!(error, TokenError::Malformed { .. }),
            "{text:.60}: {error}"
        );
    }
}

#[test]
fn a_token_of_attic_is_malformed_here() {
    let token = sign_raw(
        r#"{"alg":"EdDSA"}"#,
        r#"{"sub":"alice","exp":4102444800,"https://jwt.attic.rs/v1":{"caches":{"*":{"r":1}}}}"#,
    );
    assert!(matches!(
        verify(&token).unwrap_err(),
        TokenError::Malformed { .. }
    ));
}

#[test]
fn a_signer_does_not_show_its_key() {
    assert_eq!(format!("{:?}", signer()), "TokenSigner(<redacted>)");
}

proptest! {
    #[test]
    fn a_damaged_token_never_panics_and_never_says_something_else(damages in damages()) {
        let token = signer().sign(&claims());
        if let Ok(said) = verify(&damaged_text(&token, &damages)) {
            prop_assert_eq!(said, claims());
        }
    }

    #[test]
    fn signed_nonsense_never_panics(header in ".{0,40}", claims in ".{0,80}") {
        for header in [header.as_str(), r#"{"alg":"EdDSA"}"#] {
            let verified = verify(&sign_raw(header, &claims));
            prop_assert!(verified.is_err());
        }
    }
}
