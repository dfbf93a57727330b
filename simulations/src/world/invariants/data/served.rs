//! No byte is handed out that does not hash to its name.
//!
//! Two looks: every record that becomes durable on some disk is opened, and must hold what it is named after, whoever
//! brought it ([`super::shelf`]). And now and then some chunks of a station are read as a client or another node would
//! be given them: either they are what they are called, or they are said to be damaged or gone.

use bytes::Bytes;
use tetryx_protocol::hash::ChunkHash;
use tetryx_store::StoreError;

/// Judges what a store hands out for a chunk.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(chunk: &ChunkHash, handed_out: &Result<Vec<Bytes>, StoreError>) -> Result<(), String> {
    let frames = match handed_out {
        Ok(frames) => frames,
        // Full: an index that failed is opened anew, which may take room.
        Err(
            StoreError::ChunkAbsent { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Disk { .. }
            | StoreError::Full { .. }
            | StoreError::Index { .. },
        ) => return Ok(()),
        Err(error) => return Err(format!("asked for chunk {chunk}, the store says: {error}")),
    };
    let [frame] = frames.as_slice() else {
        return Err(format!(
            "asked for chunk {chunk}, the store hands out {} frames",
            frames.len()
        ));
    };
    match zstd::decode_all(&frame[..]) {
        Ok(raw) if ChunkHash::of(&raw) == *chunk => Ok(()),
        Ok(raw) => Err(format!(
            "asked for chunk {chunk}, the store hands out {} bytes that hash to {}",
            raw.len(),
            ChunkHash::of(&raw)
        )),
        Err(error) => Err(format!(
            "asked for chunk {chunk}, the store hands out no frame: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nar::TestChunk;

    fn frame(raw: &[u8]) -> Bytes {
        TestChunk::new(raw).frame.into()
    }

    #[test]
    fn what_hashes_to_its_name_is_fine_and_so_is_an_honest_no() {
        let chunk = ChunkHash::of(b"right");
        assert_eq!(judge(&chunk, &Ok(vec![frame(b"right")])), Ok(()));
        assert_eq!(judge(&chunk, &Err(StoreError::ChunkAbsent { chunk })), Ok(()));
    }

    #[test]
    fn other_bytes_under_its_name_are_noticed() {
        let chunk = ChunkHash::of(b"right");
        for handed_out in [
            vec![frame(b"wrong")],
            vec![Bytes::from_static(b"no frame")],
            Vec::new(),
        ] {
            assert!(judge(&chunk, &Ok(handed_out)).is_err());
        }
    }
}
