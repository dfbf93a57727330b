//! What a push has to send, in which order, and in which portions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::signature::KeyName;
use tetryx_protocol::store_path::{StorePath, StorePathHash};

use super::closure::LocalPath;

/// NARs up to this size share round trips with others.
const SMALL_NAR: u64 = 256 << 10;
/// A portion of small NARs fits into a window: it holds at most this many bytes…
const PORTION_BYTES: u64 = 1 << 20;
/// …and at most this many NARs.
const PORTION_NARS: usize = 64;

/// The paths of a closure that the cache should have, before it was asked what it has.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Wanted in the cache.
    pub(crate) wanted: Vec<LocalPath>,
    /// Not wanted because an upstream cache has signed them; a reference to one of them counts as present.
    pub(crate) upstream: BTreeSet<StorePath>,
}

impl Selection {
    /// Selects from a closure.
    ///
    /// With `roots` only those paths are wanted, else all. Paths signed by one of `upstream_keys` are left out unless
    /// `ignore_upstream_filter`.
    pub(crate) fn new(
        closure: Vec<LocalPath>,
        roots: Option<&BTreeSet<StorePath>>,
        upstream_keys: &[KeyName],
        ignore_upstream_filter: bool,
    ) -> Self {
        let mut selection = Self {
            wanted: Vec::new(),
            upstream: BTreeSet::new(),
        };
        for path in closure {
            let is_upstream = path
                .signatures
                .iter()
                .any(|signature| upstream_keys.contains(signature.name()));
            let is_root = roots.is_none_or(|roots| roots.contains(&path.store_path));
            if is_root && (ignore_upstream_filter || !is_upstream) {
                selection.wanted.push(path);
            } else if is_upstream {
                selection.upstream.insert(path.store_path);
            }
        }
        selection
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The paths, every one after those that it refers to.
    pub(crate) paths: Vec<LocalPath>,
    /// How many of the wanted paths the cache has already.
    pub(crate) cached: usize,
    /// References that upstream caches have.
    pub(crate) upstream: BTreeSet<StorePath>,
}

impl Plan {
    /// Plans the push of what the cache lacks.
    pub(crate) fn new(selection: Selection, missing: &BTreeSet<StorePathHash>) -> Self {
        let wanted = selection.wanted.len();
        let lacking: Vec<LocalPath> = selection
            .wanted
            .into_iter()
            .filter(|path| missing.contains(&path.store_path.hash))
            .collect();
        Self {
            cached: wanted - lacking.len(),
            paths: references_first(lacking),
            upstream: selection.upstream,
        }
    }

    /// NAR bytes of all paths.
    pub(crate) fn nar_bytes(&self) -> u64 {
        self.paths.iter().map(|path| path.nar_size).sum()
    }

    /// The paths by index, in portions that are sent as one job each: a large NAR alone, small ones together.
    pub(crate) fn portions(&self) -> Vec<Vec<usize>> {
        let mut portions = Vec::new();
        let (mut small, mut small_bytes) = (Vec::new(), 0);
        for (index, path) in self.paths.iter().enumerate() {
            if path.nar_size > SMALL_NAR {
                portions.push(vec![index]);
                continue;
            }
            if small.len() == PORTION_NARS || small_bytes + path.nar_size > PORTION_BYTES {
                portions.push(std::mem::take(&mut small));
                small_bytes = 0;
            }
            small.push(index);
            small_bytes += path.nar_size;
        }
        if !small.is_empty() {
            portions.push(small);
        }
        portions
    }
}

/// Sorts so that every path comes after its references. Nix allows no cycles but the one of a path to itself.
fn references_first(paths: Vec<LocalPath>) -> Vec<LocalPath> {
    let order = {
        let index: BTreeMap<&StorePath, usize> = paths
            .iter()
            .enumerate()
            .map(|(i, p)| (&p.store_path, i))
            .collect();
        let mut order = Vec::with_capacity(paths.len());
        let mut seen = vec![false; paths.len()];
        // Depth first without recursion: (path, next reference to look at).
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for start in index.values().copied() {
            if !std::mem::replace(&mut seen[start], true) {
                stack.push((start, 0));
            }
            while let Some((path, next)) = stack.pop() {
                let Some(reference) = paths[path].references.get(next) else {
                    order.push(path);
                    continue;
                };
                stack.push((path, next + 1));
                if let Some(&reference) = index.get(reference)
                    && !std::mem::replace(&mut seen[reference], true)
                {
                    stack.push((reference, 0));
                }
            }
        }
        order
    };
    let mut slots: Vec<Option<LocalPath>> = paths.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|index| slots[index].take())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use tetryx_protocol::hash::NarHash;

    use super::*;

    /// A path named by one character, with references of the same kind.
    pub(crate) fn path(name: char, references: &str, nar_size: u64) -> LocalPath {
        LocalPath {
            store_path: store_path(name),
            nar_hash: NarHash::of(&[name as u8]),
            nar_size,
            references: references.chars().map(store_path).collect(),
            deriver: None,
            signatures: Vec::new(),
            ca: None,
        }
    }

    fn store_path(name: char) -> StorePath {
        // The hash sorts against the name, so that alphabetical luck cannot pass for topological order.
        let digit = b"zyxwvsrqpnmlkjihgfdcba9876543210"[(name as usize - 'a' as usize) % 32] as char;
        format!("{}-{name}", digit.to_string().repeat(32))
            .replace(['e', 'o', 'u', 't'], "1")
            .parse()
            .unwrap()
    }

    fn names(paths: &[LocalPath]) -> String {
        paths.iter().map(|p| p.store_path.name.to_string()).collect()
    }

    fn signed(mut path: LocalPath, key: &str) -> LocalPath {
        let zeros = data_encoding::BASE64.encode(&[0; 64]);
        path.signatures.push(format!("{key}:{zeros}").parse().unwrap());
        path
    }

    fn hashes(paths: &[LocalPath]) -> BTreeSet<StorePathHash> {
        paths.iter().map(|p| p.store_path.hash).collect()
    }

    #[test]
    fn references_come_before_referrers_and_a_path_may_refer_to_itself() {
        let paths = vec![
            path('a', "abc", 1),
            path('b', "d", 1),
            path('c', "db", 1),
            path('d', "", 1),
        ];
        let missing = hashes(&paths);
        let plan = Plan::new(
            Selection {
                wanted: paths,
                upstream: BTreeSet::new(),
            },
            &missing,
        );
        let order = names(&plan.paths);
        let at = |c| order.find(c).unwrap();
        assert!(
            at('d') < at('b') && at('b') < at('c') && at('c') < at('a'),
            "{order}"
        );
    }

    #[test]
    fn a_deep_chain_needs_no_deep_stack() {
        let mut paths = vec![path('a', "", 1)];
        for depth in 0..50_000 {
            let previous = paths[depth].store_path.clone();
            let mut next = path('b', "", 1);
            next.store_path = format!("{}-{depth}", previous.hash).parse().unwrap();
            next.references = vec![previous];
            paths.push(next);
        }
        paths.reverse();
        let sorted = references_first(paths);
        assert_eq!((sorted.len(), sorted[0].references.len()), (50_001, 0));
    }

    #[test]
    fn what_an_upstream_cache_signed_is_left_out_unless_asked_for() {
        let keys = ["cache.nixos.org-1".parse().unwrap()];
        let closure = || {
            vec![
                path('a', "b", 1),
                signed(path('b', "", 1), "cache.nixos.org-1"),
                signed(path('c', "", 1), "x"),
            ]
        };

        let filtered = Selection::new(closure(), None, &keys, false);
        assert_eq!(
            (names(&filtered.wanted).as_str(), filtered.upstream.len()),
            ("ac", 1)
        );
        let all = Selection::new(closure(), None, &keys, true);
        assert_eq!((names(&all.wanted).as_str(), all.upstream.len()), ("abc", 0));
    }

    #[test]
    fn without_the_closure_only_the_roots_are_wanted_and_upstream_references_are_still_known() {
        let keys = ["cache.nixos.org-1".parse().unwrap()];
        let closure = vec![
            path('a', "bc", 1),
            signed(path('b', "", 1), "cache.nixos.org-1"),
            path('c', "", 1),
        ];
        let roots = BTreeSet::from([closure[0].store_path.clone()]);
        let selection = Selection::new(closure, Some(&roots), &keys, false);
        assert_eq!(
            (names(&selection.wanted).as_str(), selection.upstream.len()),
            ("a", 1)
        );
    }

    #[test]
    fn what_the_cache_has_is_not_planned() {
        let paths = vec![path('a', "b", 10), path('b', "", 20)];
        let missing = hashes(&paths[..1]);
        let plan = Plan::new(
            Selection {
                wanted: paths,
                upstream: BTreeSet::new(),
            },
            &missing,
        );
        assert_eq!(
            (names(&plan.paths).as_str(), plan.cached, plan.nar_bytes()),
            ("a", 1, 10)
        );
    }

    #[test]
    fn small_nars_travel_together_and_large_ones_alone() {
        let mut paths: Vec<LocalPath> = (0..70).map(|_| path('a', "", 100)).collect();
        paths.push(path('b', "", SMALL_NAR + 1));
        paths.extend((0..10).map(|_| path('c', "", SMALL_NAR)));
        let plan = Plan {
            paths,
            cached: 0,
            upstream: BTreeSet::new(),
        };
        let portions = plan.portions();
        assert!(portions.contains(&vec![70]));
        for portion in &portions {
            let bytes: u64 = portion.iter().map(|&i| plan.paths[i].nar_size).sum();
            assert!(portion.len() <= PORTION_NARS && bytes <= PORTION_BYTES);
        }
        let mut all: Vec<usize> = portions.concat();
        all.sort_unstable();
        assert_eq!(all, (0..81).collect::<Vec<_>>());
    }
}
