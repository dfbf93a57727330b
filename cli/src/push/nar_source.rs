//! A NAR read straight from the file system, in one pass and without ever holding it.
//!
//! The format is Nix's `nar.cc`: strings are a little-endian u64 length, the bytes, and zeros up to a multiple of
//! eight; entries of a folder are in byte order of their names. Names and link targets are bytes, not text: Nix
//! stores what Unix allows, which the crates on hand (nix-nar reads UTF-8 only) would refuse.
//!
//! # Non-goals
//! - Mode bits other than the owner's execute bit, times, owners: a NAR has none.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Blocks handed to the sink are at most this long.
const BLOCK: usize = 256 << 10;

/// What Nix on macOS appends to names that differ only in case; it is not part of the NAR.
const CASE_HACK_SUFFIX: &[u8] = b"~nix~case~hack~";

/// Writes the NAR of `path` into `sink`, block by block.
///
/// # Errors
/// When a file cannot be read, changes its length meanwhile, or is none of file, folder and link; the message names
/// it. Errors of `sink` come back unchanged.
pub(crate) fn write_nar(path: &Path, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut writer = Writer {
        block: Vec::with_capacity(BLOCK),
        sink,
    };
    writer.string(b"nix-archive-1")?;
    writer.node(path)?;
    writer.flush()
}

struct Writer<'a> {
    block: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Writer<'_> {
    fn node(&mut self, path: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path).map_err(|error| named(path, &error))?;
        self.strings(&[b"(", b"type"])?;
        if metadata.is_file() {
            self.string(b"regular")?;
            if metadata.permissions().mode() & 0o100 != 0 {
                self.strings(&[b"executable", b""])?;
            }
            self.string(b"contents")?;
            self.file(path, metadata.len())?;
        } else if metadata.is_dir() {
            self.string(b"directory")?;
            self.folder(path)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(|error| named(path, &error))?;
            self.strings(&[b"symlink", b"target", target.as_os_str().as_bytes()])?;
        } else {
            return Err(io::Error::other(format!(
                "{} is neither a file, a folder nor a link, and has no place in a NAR",
                path.display()
            )));
        }
        self.string(b")")
    }

    fn folder(&mut self, path: &Path) -> io::Result<()> {
        let mut names = fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(|error| named(path, &error))?;
        names.sort_unstable_by(|a, b| nar_name(a).cmp(nar_name(b)));
        for name in names {
            self.strings(&[b"entry", b"(", b"name", nar_name(&name), b"node"])?;
            self.node(&path.join(&name))?;
            self.string(b")")?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, length: u64) -> io::Result<()> {
        self.bytes(&length.to_le_bytes())?;
        let mut file = File::open(path).map_err(|error| named(path, &error))?;
        let mut left = length;
        while left > 0 {
            if self.block.len() == BLOCK {
                self.flush()?;
            }
            let start = self.block.len();
            let want = usize::try_from(left).map_or(BLOCK - start, |left| left.min(BLOCK - start));
            self.block.resize(start + want, 0);
            let read = file
                .read(&mut self.block[start..])
                .map_err(|error| named(path, &error))?;
            self.block.truncate(start + read);
            if read == 0 {
                return Err(changed(path));
            }
            left -= read as u64;
        }
        // A file that grew would go unseen here; the NAR hash tells.
        self.pad(length)
    }

    fn strings(&mut self, strings: &[&[u8]]) -> io::Result<()> {
        strings.iter().try_for_each(|string| self.string(string))
    }

    fn string(&mut self, string: &[u8]) -> io::Result<()> {
        self.bytes(&(string.len() as u64).to_le_bytes())?;
        self.bytes(string)?;
        self.pad(string.len() as u64)
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let zeros = (8 - length % 8) % 8;
        self.bytes(&[0; 8][..usize::try_from(zeros).expect("below eight")])
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.block.len() == BLOCK {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            (self.sink)(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }
}

fn nar_name(name: &OsStr) -> &[u8] {
    let bytes = name.as_bytes();
    if !cfg!(target_os = "macos") {
        return bytes;
    }
    match bytes
        .windows(CASE_HACK_SUFFIX.len())
        .position(|window| window == CASE_HACK_SUFFIX)
    {
        Some(at) => &bytes[..at],
        None => bytes,
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
}

fn changed(path: &Path) -> io::Error {
    io::Error::other(format!("{} became shorter while it was read", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn nar(path: &Path) -> Vec<u8> {
        let mut nar = Vec::new();
        write_nar(path, &mut |block| {
            assert!(block.len() <= BLOCK);
            nar.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        nar
    }

    /// Nix itself is the reference.
    fn nix_nar(path: &Path) -> Vec<u8> {
        let output = Command::new("nix-store")
            .arg("--dump")
            .arg(path)
            .output()
            .expect("nix is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    #[test]
    fn a_tree_with_everything_in_it_is_the_nar_that_nix_makes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("empty folder")).unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("tool"), fs::Permissions::from_mode(0o555)).unwrap();
        // Only the owner's bit counts.
        fs::write(root.join("group"), "x").unwrap();
        fs::set_permissions(root.join("group"), fs::Permissions::from_mode(0o454)).unwrap();
        for name in [
            "a",
            "A",
            "a.b",
            "a-b",
            "B",
            "Főtanúsítvány",
            "=Class Gold=",
            "new\nline",
            "~",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(root.join(OsStr::from_bytes(b"not-utf8-\xff")), "x").unwrap();
        symlink("tool", root.join("link")).unwrap();
        symlink("/nowhere/at all", root.join("dangling")).unwrap();
        symlink("x/".repeat(1500), root.join("long link")).unwrap();
        symlink(OsStr::from_bytes(b"\xfe\xff"), root.join("odd link")).unwrap();
        for length in [1, 7, 8, 9, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            fs::write(root.join(format!("file {length}")), vec![7; length]).unwrap();
        }
        assert!(nar(&root) == nix_nar(&root));
    }

    #[test]
    fn a_lone_file_and_a_lone_link_are_nars_too() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "hello").unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(nar(&file), nix_nar(&file));
        // nix-store follows a link given as argument; its NAR is short enough to write down.
        let mut expected = Vec::new();
        for word in ["nix-archive-1", "(", "type", "symlink", "target", "file", ")"] {
            expected.extend((word.len() as u64).to_le_bytes());
            expected.extend(word.as_bytes());
            expected.resize(expected.len().next_multiple_of(8), 0);
        }
        assert_eq!(nar(&link), expected);
    }

    #[test]
    fn what_cannot_be_archived_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_nar(&dir.path().join("nope"), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("nope"), "{error}");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = write_nar(&socket, &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("has no place in a NAR"), "{error}");
    }

    #[test]
    fn an_error_of_the_sink_ends_the_reading() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        let error = write_nar(dir.path(), &mut |_| Err(io::Error::other("full"))).unwrap_err();
        assert_eq!(error.to_string(), "full");
    }
}
