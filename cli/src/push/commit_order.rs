//! Which uploaded paths may be committed next. Pure.
//!
//! # Invariants
//! - A path is handed out once, after it was uploaded, and after or together with every planned path it refers to.

use std::collections::{BTreeMap, VecDeque};

use super::closure::LocalPath;

/// The largest batch that is committed at once. The log takes 4,096 paths and 65,536 references in one entry; a
/// quarter of that keeps entries small.
const BATCH_PATHS: usize = 1_024;
const BATCH_REFERENCES: usize = 16_384;

/// Tracks uploads and hands out batches.
#[derive(Debug)]
pub(crate) struct CommitOrder {
    nodes: Vec<Node>,
    ready: VecDeque<usize>,
}

#[derive(Debug, Default)]
struct Node {
    uploaded: bool,
    /// Planned references that are not ready yet.
    waiting_for: usize,
    /// Planned paths that refer to this one.
    referrers: Vec<usize>,
    references: usize,
}

impl CommitOrder {
    /// For the paths of a plan.
    pub(crate) fn new(paths: &[LocalPath]) -> Self {
        let index: BTreeMap<_, _> = paths
            .iter()
            .enumerate()
            .map(|(i, path)| (&path.store_path, i))
            .collect();
        let mut nodes: Vec<Node> = paths.iter().map(|_| Node::default()).collect();
        for (i, path) in paths.iter().enumerate() {
            nodes[i].references = path.references.len();
            for &reference in path
                .references
                .iter()
                .filter_map(|r| index.get(r))
                .filter(|&&r| r != i)
            {
                nodes[i].waiting_for += 1;
                nodes[reference].referrers.push(i);
            }
        }
        Self {
            nodes,
            ready: VecDeque::new(),
        }
    }

    /// Notes that a path was uploaded.
    pub(crate) fn uploaded(&mut self, path: usize) {
        assert!(
            !std::mem::replace(&mut self.nodes[path].uploaded, true),
            "a path is uploaded once"
        );
        if self.nodes[path].waiting_for > 0 {
            return;
        }
        let mut released = vec![path];
        while let Some(path) = released.pop() {
            self.ready.push_back(path);
            for referrer in std::mem::take(&mut self.nodes[path].referrers) {
                let node = &mut self.nodes[referrer];
                node.waiting_for -= 1;
                if node.waiting_for == 0 && node.uploaded {
                    released.push(referrer);
                }
            }
        }
    }

    /// The next batch to commit; empty if nothing is ready.
    pub(crate) fn take_batch(&mut self) -> Vec<usize> {
        let (mut batch, mut references) = (Vec::new(), 0);
        while let Some(&path) = self.ready.front() {
            references += self.nodes[path].references;
            if batch.len() == BATCH_PATHS || (references > BATCH_REFERENCES && !batch.is_empty()) {
                break;
            }
            self.ready.pop_front();
            batch.push(path);
        }
        batch
    }

    /// The uploaded paths that still wait for others.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = usize> {
        let waits = |(_, node): &(usize, &Node)| node.uploaded && node.waiting_for > 0;
        self.nodes
            .iter()
            .enumerate()
            .filter(waits)
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::path;
    use super::*;

    #[test]
    fn a_path_waits_for_its_references() {
        // c refers to b, b to a.
        let paths = [path('a', "", 1), path('b', "a", 1), path('c', "bc", 1)];
        let mut order = CommitOrder::new(&paths);
        order.uploaded(2);
        order.uploaded(1);
        assert_eq!(order.take_batch(), Vec::<usize>::new());
        assert_eq!(order.waiting().collect::<Vec<_>>(), [1, 2]);
        order.uploaded(0);
        assert_eq!(order.take_batch(), [0, 1, 2]);
        assert_eq!(order.waiting().count(), 0);
    }

    #[test]
    fn what_does_not_wait_is_handed_out_at_once() {
        let paths = [path('a', "", 1), path('b', "a", 1), path('c', "x", 1)];
        let mut order = CommitOrder::new(&paths);
        order.uploaded(2);
        assert_eq!(order.take_batch(), [2]);
        order.uploaded(0);
        assert_eq!(order.take_batch(), [0]);
        order.uploaded(1);
        assert_eq!(order.take_batch(), [1]);
        assert_eq!(order.waiting().count(), 0);
    }

    #[test]
    fn batches_are_bounded() {
        let paths: Vec<_> = (0..BATCH_PATHS + 1).map(|_| path('a', "", 1)).collect();
        let paths: Vec<_> = paths
            .into_iter()
            .enumerate()
            .map(|(i, mut p)| {
                p.store_path = format!("{}-{i}", p.store_path.hash).parse().unwrap();
                p
            })
            .collect();
        let mut order = CommitOrder::new(&paths);
        (0..paths.len()).for_each(|i| order.uploaded(i));
        assert_eq!(order.take_batch().len(), BATCH_PATHS);
        assert_eq!(order.take_batch().len(), 1);
    }
}
