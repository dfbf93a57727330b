//! Rounds of scrubbing as the index keeps them.

use std::collections::VecDeque;

use tetryx_protocol::time::UtcTime;

use super::{ScrubDone, ScrubRound};
use crate::catalog::Position;

/// The version of a stored round.
const VERSION: u8 = 1;

impl ScrubRound {
    /// Version, then: begun, at, until, segments, records, bytes, bytes in all, found. Little endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.begun.unix_ms().to_le_bytes());
        for position in [self.at, self.until] {
            out.extend(position.segment.to_le_bytes());
            out.extend(position.offset.to_le_bytes());
        }
        let counts = [
            self.segments,
            self.records,
            self.bytes,
            self.bytes_total,
            self.found,
        ];
        counts.iter().for_each(|count| out.extend(count.to_le_bytes()));
        out
    }

    /// `None` for what another version wrote: the round is then begun anew.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let begun = UtcTime::from_unix_ms(i64::from_le_bytes(take(&mut rest)?));
        let mut position = || {
            Some(Position {
                segment: u32::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
            })
        };
        let (at, until) = (position()?, position()?);
        let mut count = || Some(u64::from_le_bytes(take(&mut rest)?));
        Some(Self {
            begun,
            segments: count()?,
            records: count()?,
            bytes: count()?,
            bytes_total: count()?,
            found: count()?,
            at,
            until,
            by_name: VecDeque::new(),
        })
    }
}

impl ScrubDone {
    /// Version, then: begun, ended, records, bytes, found. Little endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for time in [self.begun, self.ended] {
            out.extend(time.unix_ms().to_le_bytes());
        }
        for count in [self.records, self.bytes, self.found] {
            out.extend(count.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let mut time = || Some(UtcTime::from_unix_ms(i64::from_le_bytes(take(&mut rest)?)));
        let (begun, ended) = (time()?, time()?);
        let mut count = || Some(u64::from_le_bytes(take(&mut rest)?));
        Some(Self {
            begun,
            ended,
            records: count()?,
            bytes: count()?,
            found: count()?,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn stored_rounds_are_read_as_they_were_written() {
        let round = ScrubRound {
            begun: UtcTime::from_unix_ms(0x0102),
            segments: 3,
            records: 4,
            bytes: 5,
            bytes_total: 6,
            found: 7,
            at: Position {
                segment: 8,
                offset: 9,
            },
            until: Position {
                segment: 10,
                offset: 11,
            },
            by_name: VecDeque::new(),
        };
        let golden = "010201000000000000080000000900000000000000\
                      0a0000000b00000000000000\
                      03000000000000000400000000000000050000000000000006000000000000000700000000000000";
        assert_eq!(hex(&round.encode()), golden);
        assert_eq!(ScrubRound::decode(&round.encode()), Some(round));
        assert_eq!(ScrubRound::decode(&[2; 80]), None);
        assert_eq!(ScrubRound::decode(&[VERSION; 20]), None);

        let done = ScrubDone {
            begun: UtcTime::from_unix_ms(1),
            ended: UtcTime::from_unix_ms(2),
            records: 3,
            bytes: 4,
            found: 5,
        };
        let golden = "0101000000000000000200000000000000\
                      030000000000000004000000000000000500000000000000";
        assert_eq!(hex(&done.encode()), golden);
        assert_eq!(ScrubDone::decode(&done.encode()), Some(done));
        assert_eq!(ScrubDone::decode(&[]), None);
    }
}
