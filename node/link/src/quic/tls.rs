//! TLS 1.3 with raw public keys (RFC 7250): a node's ed25519 key is its identity, and there are no certificates.
//!
//! # Invariants
//! - Both sides prove possession of their key in each handshake; nothing is resumed, and no early data is sent.
//! - Whether the key may talk to us is decided after the handshake, so that a refusal can say why.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use tetryx_protocol::id::NodeId;

use crate::service::Lane;

/// DER before the 32 bytes of an ed25519 key in SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// DER before the 32 bytes of an ed25519 seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// This node's key, ready for handshakes.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

/// The id that belongs to a key.
pub(super) fn node_id(key: &SigningKey) -> NodeId {
    NodeId::from_bytes(key.verifying_key().to_bytes())
}

impl Identity {
    pub(super) fn new(key: &SigningKey) -> Result<Self, Error> {
        let mut pkcs8 = PKCS8_PREFIX.to_vec();
        pkcs8.extend_from_slice(key.as_bytes());
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let signer = ring::sign::any_eddsa_type(match &pkcs8 {
            PrivateKeyDer::Pkcs8(der) => der,
            _ => unreachable!("made as PKCS #8 above"),
        })?;
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend_from_slice(node_id(key).as_bytes());
        Ok(Self {
            provider: Arc::new(ring::default_provider()),
            key: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)),
        })
    }

    /// The key as TLS shows it.
    #[cfg(test)]
    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// For listening: any key is let through the handshake, if its holder proves to have it.
    pub(super) fn server(&self) -> Result<QuicServerConfig, Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(AnyNode(self.provider.clone())))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = Lane::ALL.map(|lane| lane.alpn().to_vec()).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
    }

    /// For dialling: the other side must have the key of `expect`.
    pub(super) fn client(&self, expect: NodeId, lane: Lane) -> Result<QuicClientConfig, Error> {
        let resolver = AlwaysResolvesClientRawPublicKeys::new(self.key.clone());
        self.client_with(expect, lane, resolver)
    }

    /// As [`Identity::client`], showing a key of the caller's choice.
    pub(super) fn client_with(
        &self,
        expect: NodeId,
        lane: Lane,
        resolver: AlwaysResolvesClientRawPublicKeys,
    ) -> Result<QuicClientConfig, Error> {
        let verifier = ThisNode {
            provider: self.provider.clone(),
            expect,
        };
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![lane.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
    }
}

/// Who is at the other end of a connection whose handshake is done.
pub(super) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    keys.first().and_then(node_of_spki)
}

/// What the handshake agreed the connection is for.
pub(super) fn lane_of(connection: &quinn::Connection) -> Option<Lane> {
    let data = connection.handshake_data()?;
    let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    Lane::from_alpn(data.protocol.as_deref()?)
}

fn node_of_spki(spki: &CertificateDer<'_>) -> Option<NodeId> {
    let key = spki.as_ref().strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(NodeId::from_bytes)
}

fn not_ed25519() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}

fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signed, &provider.signature_verification_algorithms)
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken".to_owned())
}

/// Takes every dialler that holds the key it shows.
#[derive(Debug)]
struct AnyNode(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        node_of_spki(end_entity).ok_or_else(not_ed25519)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes one listener and no other.
#[derive(Debug)]
struct ThisNode {
    provider: Arc<CryptoProvider>,
    expect: NodeId,
}

/// Somebody else is at the address.
struct OtherNode {
    expected: NodeId,
    found: NodeId,
}

impl fmt::Display for OtherNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "node {} is at this address, not {}",
            self.found.fmt_short(),
            self.expected.fmt_short()
        )
    }
}

/// rustls shows errors of others in this form.
impl fmt::Debug for OtherNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for OtherNode {}

impl ServerCertVerifier for ThisNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = node_of_spki(end_entity).ok_or_else(not_ed25519)?;
        if found != self.expect {
            let other = OtherNode {
                expected: self.expect,
                found,
            };
            let other = CertificateError::Other(OtherError(Arc::new(other)));
            return Err(Error::InvalidCertificate(other));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
