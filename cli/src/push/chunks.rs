//! From files to chunks: one pass that reads, hashes the NAR and cuts it. Blocking.

use std::io;
use std::path::Path;

use tetryx_protocol::chunking::Cutter;
use tetryx_protocol::hash::{NarHash, NarHasher};

use super::closure::LocalPath;
use super::error::PushError;
use super::nar_source::write_nar;

/// Reads the NAR of a path and hands out its chunks in order. At the end, checks that it was the NAR that the Nix
/// database describes.
///
/// # Errors
/// [`PushError::Local`] when the path cannot be read or is another than recorded; [`PushError::Stopped`] when `take`
/// does not want more.
pub(crate) fn read_chunks(
    path: &LocalPath,
    root: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut hasher = NarHash::hasher();
    let mut size = 0;
    let mut cutter = Cutter::new();
    let mut stopped = None;
    let written = write_nar(root, &mut |block| {
        hasher.update(block);
        size += block.len() as u64;
        if size > path.nar_size {
            // Not read to its end: it may be of any length.
            stopped = Some(changed(path, root, &format!("more than {} bytes", path.nar_size)));
            return Err(io::Error::other("stopped"));
        }
        cutter.push(block);
        while let Some(raw) = cutter.next_chunk() {
            if let Err(error) = take(&raw) {
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
        take(&raw)?;
    }
    Ok(())
}

fn check(path: &LocalPath, root: &Path, hasher: NarHasher, size: u64) -> Result<(), PushError> {
    let found = hasher.finish();
    if found == path.nar_hash && size == path.nar_size {
        return Ok(());
    }
    Err(changed(path, root, &format!("hash {found} and {size} bytes")))
}

fn changed(path: &LocalPath, root: &Path, found: &str) -> PushError {
    PushError::Local(format!(
        "{} was changed on disk: its NAR has {found}, but Nix recorded {} and {} bytes; \
         check it with 'nix-store --verify-path' and repair it",
        root.display(),
        path.nar_hash,
        path.nar_size
    ))
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
            nar.extend_from_slice(chunk);
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
        assert!(error.concerns_one_path(), "{error}");
        assert!(
            error.to_string().contains("its NAR has more than 4000280 bytes"),
            "{error}"
        );

        std::fs::remove_file(dir.path().join("extra")).unwrap();
        std::fs::write(dir.path().join("data"), "short").unwrap();
        let error = read_chunks(&path, dir.path(), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("its NAR has hash sha256:"), "{error}");
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
