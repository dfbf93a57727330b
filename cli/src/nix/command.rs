//! Running `nix`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// `nix` with the commands it hides behind a flag (up to the latest version) switched on.
fn nix() -> Command {
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command"])
        .stdin(Stdio::null());
    command
}

const NOT_FOUND: &str =
    "cannot run 'nix'; install Nix (on Debian: apt-get install nix-bin) or add it to PATH";

/// Asks Nix for the closure of store paths, as the JSON of `nix path-info --json -r`.
///
/// # Errors
/// When `nix` cannot be run or does not know a path; its own message is part of the error.
pub(crate) async fn closure_json(paths: &[String]) -> Result<Vec<u8>> {
    let plain = path_info(paths, &[]).await?;
    let output =
        if !plain.status.success() && String::from_utf8_lossy(&plain.stderr).contains("--json-format") {
            // Nix from 2.36 on may insist on a format; older ones do not know the option.
            path_info(paths, &["--json-format", "1"]).await?
        } else {
            plain
        };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "'nix path-info' failed: {}",
            stderr.trim().trim_start_matches("error: ")
        );
    }
    Ok(output.stdout)
}

async fn path_info(paths: &[String], options: &[&str]) -> Result<std::process::Output> {
    let mut command = nix();
    command
        .args(["path-info", "--json", "--recursive"])
        .args(options)
        .arg("--")
        .args(paths);
    command.output().await.context(NOT_FOUND)
}

/// Runs `nix copy` with the terminal of the tool; returns its exit code.
///
/// # Errors
/// When `nix` cannot be run.
pub(crate) async fn copy(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<i32> {
    let status = nix().arg("copy").args(args).status().await.context(NOT_FOUND)?;
    Ok(status.code().unwrap_or(1))
}

/// Follows links until the path lies in the store, and cuts it to the store path, as Nix does with `./result`.
///
/// # Errors
/// When a link on the way does not exist, or the path ends outside of the store.
pub(crate) fn to_store_path(path: &Path, store_dir: &Path) -> Result<String> {
    let mut current = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    for _ in 0..64 {
        if let Ok(inside) = current.strip_prefix(store_dir)
            && let Some(name) = inside.components().next()
        {
            let found = store_dir.join(name);
            return found
                .into_os_string()
                .into_string()
                .map_err(|_| anyhow::anyhow!("{} is not UTF-8", path.display()));
        }
        current = follow_one_link(&current).with_context(|| format!("cannot follow {}", path.display()))?;
    }
    bail!("{} is a loop of links", path.display())
}

/// Replaces the first component that is a link by what it points to.
fn follow_one_link(path: &Path) -> Result<PathBuf> {
    let mut walked = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        walked.push(component);
        let metadata = std::fs::symlink_metadata(&walked)
            .with_context(|| format!("{} does not exist; build it first", walked.display()))?;
        if metadata.is_symlink() {
            let target = std::fs::read_link(&walked)?;
            let folder = walked.parent().unwrap_or(Path::new("/"));
            return Ok(normalised(&folder.join(target)).join(components.as_path()));
        }
    }
    bail!(
        "{} is not in the Nix store; add it with 'nix-store --add' or give a store path",
        path.display()
    )
}

/// Without `.` and `..`. The folders before a `..` have been walked and are no links.
fn normalised(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_until_the_store_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let store = dir.join("store");
        std::fs::create_dir_all(store.join("aaa-env/bin")).unwrap();
        // In the store this is itself a link to another store path: the profile is what was asked for.
        symlink(store.join("bbb-tool/bin/tool"), store.join("aaa-env/bin/tool")).unwrap();
        std::fs::create_dir(dir.join("profiles")).unwrap();
        symlink("../store/aaa-env", dir.join("profiles/current")).unwrap();
        symlink("profiles/current", dir.join("profile")).unwrap();

        let expected = store.join("aaa-env").into_os_string().into_string().unwrap();
        assert_eq!(
            to_store_path(&dir.join("profile/bin/tool"), &store).unwrap(),
            expected
        );
        assert_eq!(to_store_path(&store.join("aaa-env"), &store).unwrap(), expected);
    }

    #[test]
    fn what_is_not_in_the_store_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!(
            "{:#}",
            to_store_path(dir.path(), Path::new("/nix/store")).unwrap_err()
        );
        assert!(error.contains("is not in the Nix store"), "{error}");
        let error = format!(
            "{:#}",
            to_store_path(&dir.path().join("nope"), Path::new("/nix/store")).unwrap_err()
        );
        assert!(error.contains("nope does not exist"), "{error}");
    }
}
