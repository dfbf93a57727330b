//! The main job: a closure of real derivations goes in by `tetryx-cli` and comes out by a real Nix.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tetryx_testnet::user::User;
use tetryx_testnet::world::{Cache, World};

/// A station that has a closure, and what is in it.
struct Pushed {
    world: World,
    cache: Cache,
    root: String,
    closure: Vec<String>,
}

fn pushed(attribute: &str) -> Result<Pushed> {
    let world = World::new()?;
    let cache = world.public_cache("mission-alpha")?;
    let root = world.store.build(attribute)?.remove(0);
    world.operator.cli(["push", "mission-alpha", &root])?.ok()?;
    let closure = world.operator.closure(&root)?;
    Ok(Pushed {
        world,
        cache,
        root,
        closure,
    })
}

impl Pushed {
    /// `nix copy --from`, into a store that was empty until now.
    fn copy(&self, user: &User, key: &str) -> Result<Result<String>> {
        let to = user.fresh_store("copied")?;
        let args = [
            "copy",
            "--from",
            &self.cache.url,
            "--to",
            &to,
            &self.root,
            "--option",
            "trusted-public-keys",
            key,
        ];
        Ok(user.nix(args)?.ok().map(|_| to))
    }
}

#[test]
fn a_closure_of_every_kind_of_path_comes_back_by_nix_copy_as_it_was() -> Result<()> {
    // Given a closure of more than 30 paths: links, executables, odd names, empty things, a NAR above 300 MiB
    let pushed = pushed("all")?;
    ensure!(pushed.closure.len() >= 40, "{} paths", pushed.closure.len());
    let sizes = pushed.world.operator.nix_store(
        ["-q", "--size"]
            .into_iter()
            .chain(pushed.closure.iter().map(String::as_str)),
    )?;
    let sizes: Vec<u64> = sizes.ok()?.lines().map(|line| line.parse().unwrap()).collect();
    ensure!(
        sizes.iter().any(|size| *size > 300 << 20) && sizes.contains(&96),
        "{sizes:?}"
    );
    // When a stranger copies it, trusting the printed key only
    let stranger = pushed.world.user()?;
    let store = pushed.copy(&stranger, &pushed.cache.public_key)??;
    // Then every path is the same, bit for bit
    stranger.expect_same(&store, &pushed.closure)
}

#[test]
fn nix_store_realises_a_closure_with_the_trusted_key() -> Result<()> {
    let pushed = pushed("tool")?;
    let stranger = pushed.world.user()?;
    let store = stranger.fresh_store("realised")?;
    let said = stranger.nix_store([
        "--store",
        &store,
        "-r",
        &pushed.root,
        "--option",
        "substituters",
        &pushed.cache.url,
        "--option",
        "trusted-public-keys",
        &pushed.cache.public_key,
    ])?;
    ensure!(said.ok()?.contains(&pushed.root));
    stranger.expect_same(&store, &pushed.closure)
}

#[test]
fn a_wrong_key_is_refused_by_nix() -> Result<()> {
    // Given a key of the right name that did not sign
    let pushed = pushed("small")?;
    let stranger = pushed.world.user()?;
    let (secret, public) = (stranger.fresh_store("secret")?, stranger.fresh_store("public")?);
    stranger
        .nix_store(["--generate-binary-cache-key", "mission-alpha", &secret, &public])?
        .ok()?;
    let wrong = fs::read_to_string(&public)?;
    // When it is the only one that Nix trusts, Then nothing is copied
    let refusal = pushed
        .copy(&stranger, wrong.trim())?
        .err()
        .context("a wrong key should be refused")?;
    ensure!(format!("{refusal:#}").contains("signature"), "{refusal:#}");
    let to = stranger.fresh_store("copied")?;
    stranger
        .nix_store(["--store", &to, "-q", "--hash", &pushed.root])?
        .refused()?;
    Ok(())
}

#[test]
fn nix_reads_the_same_path_info_from_the_cache_as_from_where_it_was_built() -> Result<()> {
    let pushed = pushed("all")?;
    let info = |store: &[&str]| -> Result<Vec<serde_json::Value>> {
        let mut args = vec!["path-info", "--json", "--recursive", &pushed.root];
        args.extend(store);
        let mut list: Vec<serde_json::Value> = serde_json::from_str(&pushed.world.operator.nix(args)?.ok()?)?;
        // What a cache adds or cannot know.
        for path in &mut list {
            let path = path.as_object_mut().context("path-info lists objects")?;
            [
                "registrationTime",
                "ultimate",
                "signatures",
                "url",
                "downloadHash",
                "downloadSize",
            ]
            .iter()
            .for_each(|field| drop(path.remove(*field)));
        }
        list.sort_by_key(|path| path["path"].to_string());
        Ok(list)
    };
    let there = info(&["--store", &pushed.cache.url])?;
    assert_eq!(there, info(&[])?);
    assert_eq!(there.len(), pushed.closure.len());
    Ok(())
}

#[test]
fn nix_store_verify_finds_every_nar_whole_and_signed() -> Result<()> {
    let pushed = pushed("all")?;
    let key = &pushed.cache.public_key;
    let args = [
        "store",
        "verify",
        "--store",
        &pushed.cache.url,
        "-r",
        &pushed.root,
        "--option",
        "trusted-public-keys",
        key,
    ];
    pushed.world.user()?.nix(args)?.ok().map(|_| ())
}

#[test]
fn nix_lists_and_reads_files_inside_of_a_path_of_the_cache() -> Result<()> {
    let pushed = pushed("selfish")?;
    let stranger = pushed.world.user()?;
    let listed = stranger
        .nix(["store", "ls", "--store", &pushed.cache.url, "-lR", &pushed.root])?
        .ok()?;
    ensure!(
        listed.contains("-r-xr-xr-x") && listed.contains("./bin/words"),
        "{listed}"
    );
    let file = format!("{}/bin/words", pushed.root);
    let words = stranger
        .nix(["store", "cat", "--store", &pushed.cache.url, &file])?
        .ok()?;
    ensure!(words.contains(&pushed.root), "{words}");
    Ok(())
}

#[test]
fn tetryx_cli_pull_copies_a_path_into_a_store() -> Result<()> {
    let pushed = pushed("tool")?;
    let operator = &pushed.world.operator;
    let to = operator.fresh_store("pulled")?;
    operator
        .cli(["pull", "mission-alpha", &pushed.root, "--to", &to])?
        .ok()?;
    operator.expect_same(&to, &pushed.closure)
}
