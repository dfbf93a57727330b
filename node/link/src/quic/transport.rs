//! How QUIC is set up, for a path from a loopback to a geostationary hop.
//!
//! | setting | value | why |
//! |---|---|---|
//! | stream window | 2 MiB | quinn closes a connection one stream of which has 1,024 gaps, which a larger window reaches honestly on a long lossy path; speed comes from several streams |
//! | connection window | 64 MiB | 600 ms at 800 Mbit/s |
//! | idle timeout | 14 s | three keep-alives in a row lost |
//! | stateless reset | by a key derived from the node's | a node that restarted tells its peers at once that their connections are void |

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{EndpointConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;

use crate::LinkSettings;
use crate::congestion::Selector;

/// The most bytes in flight on one stream.
pub(super) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// The most bytes in flight on one connection.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// Streams that the other side may have open at once.
const STREAMS_MAX: u32 = 1024;

/// The round trip assumed before one is measured and where none is configured.
const INITIAL_RTT: Duration = Duration::from_millis(200);

const KEEP_ALIVE: Duration = Duration::from_secs(4);
const IDLE_TIMEOUT_MS: u32 = 14_000;

/// The settings of one connection.
pub(super) fn transport(settings: LinkSettings, congestion: Selector) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .initial_rtt(settings.rtt.unwrap_or(INITIAL_RTT))
        .congestion_controller_factory(Arc::new(congestion));
    transport
}

/// The settings of the socket's end, the same after each restart of a node.
pub(super) fn endpoint(key: &SigningKey) -> EndpointConfig {
    let reset_key = blake3::derive_key("tetryx-link 1 stateless reset tokens", key.as_bytes());
    let cid_key = blake3::derive_key("tetryx-link 1 connection ids", key.as_bytes());
    let mut cid_seed = [0; 8];
    cid_seed.copy_from_slice(&cid_key[..8]);
    let cid_seed = u64::from_le_bytes(cid_seed);
    let mut config = EndpointConfig::new(Arc::new(ResetKey(reset_key)));
    // Connection ids of before the restart must look valid: only for those a reset is sent.
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_seed)));
    config
}

/// Keyed BLAKE3 as the message authentication code of stateless reset tokens.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // `blake3::Hash` compares in constant time.
        let signature = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        if blake3::keyed_hash(&self.0, data) == signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}
