//! One QUIC endpoint per station: identity, roster, streams, congestion.
