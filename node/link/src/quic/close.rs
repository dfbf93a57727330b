//! Why connections and streams end: the codes on the wire, and what they mean to a caller.

use quinn::{ConnectionError, VarInt};
use tetryx_protocol::id::NodeId;

use crate::LinkError;
use crate::links::REASON_BYTES_MAX;

/// The most bytes of a reason that closes a connection: it has to fit into one packet.
const CLOSE_REASON_BYTES_MAX: usize = 512;

/// Application codes of `CONNECTION_CLOSE`. Numbers never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The endpoint shuts down.
    Shutdown = 0,
    /// The node is not let in; the reason is in words.
    Refused = 1,
    /// Another connection of the same kind to the same node is used instead. Nothing was in flight.
    Superseded = 2,
    /// The node was dropped by [`Links::forget`](crate::Links::forget).
    Forgotten = 3,
    /// The peer broke the rules of this protocol; the reason is in words.
    Misbehaved = 4,
}

impl Close {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Closes a connection with a reason that fits into one packet.
    pub(crate) fn close(self, connection: &quinn::Connection, reason: &str) {
        connection.close(self.code(), cut(reason, CLOSE_REASON_BYTES_MAX).as_bytes());
    }

    /// Whether a connection ended in this way, by the peer's doing.
    pub(crate) fn is_cause_of(self, error: &ConnectionError) -> bool {
        matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == self.code())
    }
}

/// The code of streams that are reset or stopped. There is only one: reasons travel in answers, or close connections.
pub(crate) const STREAM_ABANDONED: VarInt = VarInt::from_u32(1);

/// The longest beginning of `text` that has at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The end of a connection in words, for people.
pub(crate) fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "the connection timed out".to_owned(),
        ConnectionError::Reset => "the other side has restarted".to_owned(),
        ConnectionError::LocallyClosed => "the connection was closed by this node".to_owned(),
        ConnectionError::ApplicationClosed(close) if close.error_code == Close::Shutdown.code() => {
            "the other side is shutting down".to_owned()
        }
        ConnectionError::ApplicationClosed(close) if close.error_code == Close::Forgotten.code() => {
            "the other side dropped the connection".to_owned()
        }
        ConnectionError::ApplicationClosed(close) => foreign(&close.reason),
        ConnectionError::ConnectionClosed(close) => format!("the other side closed the connection: {close}"),
        other => other.to_string(),
    }
}

/// A reason that came over the network: printable, and not longer than ours may be.
fn foreign(reason: &[u8]) -> String {
    let text = String::from_utf8_lossy(reason);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    cut(&text, REASON_BYTES_MAX).to_owned()
}

/// As [`foreign`], for a reason that was read from a stream.
pub(crate) fn foreign_reason(reason: &[u8]) -> String {
    foreign(reason)
}

/// What the end of a connection means for an open stream.
pub(crate) fn of_stream(node: NodeId, error: &ConnectionError) -> LinkError {
    let reason = in_words(error);
    if Close::Refused.is_cause_of(error) {
        LinkError::Refused { node, reason }
    } else {
        LinkError::Broken { node, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        assert_eq!(cut("état", 1), "");
        assert_eq!(cut("état", 2), "é");
        assert_eq!(cut("état", 100), "état");
    }

    #[test]
    fn a_hostile_reason_cannot_move_the_cursor_of_a_log() {
        assert_eq!(foreign(b"a\x1b[2Jb\nc\xff"), "a [2Jb c\u{fffd}");
    }
}
