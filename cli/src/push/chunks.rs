//! From files to chunks: one pass that reads, hashes the NAR, cuts it and names the chunks. Blocking.

use std::io;
use std::path::Path;

use tetryx_protocol::chunking::Cutter;
use tetryx_protocol::hash::{ChunkHash, NarHash, NarHasher};

use super::closure::LocalPath;
use super::error::PushError;
use super::nar_source::write_nar;

/// A chunk of a NAR.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) hash: ChunkHash,
    pub(crate) raw: Vec<u8>,
}

impl Chunk {
    fn new(raw: Vec<u8>) -> Self {
        Self {
            hash: ChunkHash::of(&raw),
            raw,
        }
    }

    /// The length as the wire has it.
    pub(crate) fn raw_len(&self) -> u32 {
        u32::try_from(self.raw.len()).expect("a chunk has at most CHUNK_MAX bytes")
    }
}

/// Reads the NAR of a path and hands out its chunks in order. At the end, checks that it was the NAR that the Nix
/// database describes.
///
/// # Errors
/// [`PushError::Local`] when the path cannot be read or is another than recorded; [`PushError::Stopped`] when `take`
/// does not want more.
pub(crate) fn read_chunks(
    path: &LocalPath,
    root: &Path,
    take: &mut dyn FnMut(Chunk) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut hasher = NarHash::hasher();
    let mut size = 0;
    let mut cutter = Cutter::new();
    let mut stopped = None;
    let written = write_nar(root, &mut |block| {
        hasher.update(block);
        size += block.len() as u64;
        cutter.push(block);
        while let Some(raw) = cutter.next_chunk() {
            if let Err(error) = take(Chunk::new(raw)) {
                stopped = Some(error);
                return Err(io::Error::other("stopped"));
            }
        }
        Ok(())
    });
    if let Some(error) = stopped {
        return Err(error);
    }
    written.map_err(|error| PushError::Local(error.to_string()))?;
    check(path, root, hasher, size)?;
    while let Some(raw) = cutter.finish() {
        take(Chunk::new(raw))?;
    }
    Ok(())
}

fn check(path: &LocalPath, root: &Path, hasher: NarHasher, size: u64) -> Result<(), PushError> {
    let found = hasher.finish();
    if found == path.nar_hash && size == path.nar_size {
        return Ok(());
    }
    Err(PushError::Local(format!(
        "{} is not what Nix recorded: its NAR has hash {found} and {size} bytes, recorded are {} and {} bytes; \
         it was changed on disk: check it with 'nix-store --verify-path' and repair it",
        root.display(),
        path.nar_hash,
        path.nar_size
    )))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::path;
    use super::*;

    fn described(root: &Path) -> LocalPath {
        let mut nar = Vec::new();
        write_nar(root, &mut |block| {
            nar.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        let mut path = path('a', "", nar.len() as u64);
        path.nar_hash = NarHash::of(&nar);
        path
    }

    fn fixture() -> (tempfile::TempDir, LocalPath) {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        std::fs::write(dir.path().join("data"), bytes).unwrap();
        let path = described(dir.path());
        (dir, path)
    }

    #[test]
    fn the_chunks_put_together_are_the_nar() {
        let (dir, path) = fixture();
        let mut nar = Vec::new();
        read_chunks(&path, dir.path(), &mut |chunk| {
            assert_eq!(chunk.hash, ChunkHash::of(&chunk.raw));
            nar.extend(chunk.raw);
            Ok(())
        })
        .unwrap();
        assert_eq!(NarHash::of(&nar), path.nar_hash);
    }

    #[test]
    fn a_path_that_was_changed_on_disk_is_not_pushed() {
        let (dir, path) = fixture();
        std::fs::write(dir.path().join("extra"), "x").unwrap();
        let error = read_chunks(&path, dir.path(), &mut |_| Ok(())).unwrap_err();
        assert!(
            error.concerns_one_path() && error.to_string().contains("not what Nix recorded"),
            "{error}"
        );
    }

    #[test]
    fn a_reader_that_nobody_listens_to_stops() {
        let (dir, path) = fixture();
        let mut taken = 0;
        let result = read_chunks(&path, dir.path(), &mut |_| {
            taken += 1;
            Err(PushError::Stopped)
        });
        assert!(matches!(result, Err(PushError::Stopped)) && taken == 1);
    }
}
