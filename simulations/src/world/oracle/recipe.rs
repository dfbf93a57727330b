//! What the paths of a world are made of: a few numbers each, from which their bytes can be made again at any time.

use tetryx_protocol::store_path::StorePath;

use crate::nar::{TestPath, noise};

/// Bytes that several paths begin with: more than the largest chunk, so that they have chunks in common.
const SHARED_LEN: usize = 600 << 10;

/// How the file of a path is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Bytes of its own.
    Own {
        /// How many.
        len: u32,
    },
    /// The bytes of another path: two paths with one NAR.
    Like {
        /// That one's serial.
        serial: u64,
        /// How many.
        len: u32,
    },
    /// A long beginning that others have as well, and an end of its own.
    Shared {
        /// Which beginning.
        pool: u8,
        /// How long the end is.
        len: u32,
    },
}

/// A path of this world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The seed of the world.
    pub(crate) seed: u64,
    /// Which path of the world it is.
    pub(crate) serial: u64,
    /// Its bytes.
    pub(crate) contents: Contents,
    /// The serials of the paths it refers to.
    pub(crate) references: Vec<u64>,
}

impl Recipe {
    /// The path with its NAR.
    pub(crate) fn make(&self) -> TestPath {
        let contents = match self.contents {
            Contents::Own { len } => self.noise(self.serial, len as usize),
            Contents::Like { serial, len } => self.noise(serial, len as usize),
            Contents::Shared { pool, len } => {
                let mut contents = self.noise(u64::MAX - u64::from(pool), SHARED_LEN);
                contents.extend(self.noise(self.serial, len as usize));
                contents
            }
        };
        TestPath {
            references: self.references(),
            ..TestPath::new(&name(self.seed, self.serial), &contents)
        }
    }

    /// What it refers to.
    pub(crate) fn references(&self) -> Vec<StorePath> {
        let mut references: Vec<StorePath> = self
            .references
            .iter()
            .map(|serial| store_path(self.seed, *serial))
            .collect();
        references.sort();
        references
    }

    /// The path without its NAR.
    pub(crate) fn store_path(&self) -> StorePath {
        store_path(self.seed, self.serial)
    }

    fn noise(&self, which: u64, len: usize) -> Vec<u8> {
        noise(self.seed.rotate_left(32) ^ which.wrapping_add(1), len)
    }
}

fn name(seed: u64, serial: u64) -> String {
    format!("world-{seed}-path-{serial}")
}

fn store_path(seed: u64, serial: u64) -> StorePath {
    TestPath::new(&name(seed, serial), &[]).store_path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(serial: u64, contents: Contents) -> Recipe {
        Recipe {
            seed: 7,
            serial,
            contents,
            references: Vec::new(),
        }
    }

    #[test]
    fn the_same_recipe_makes_the_same_bytes_and_another_one_others() {
        let one = recipe(1, Contents::Own { len: 5_000 });
        assert_eq!(one.make().nar, one.make().nar);
        assert_ne!(one.make().nar, recipe(2, Contents::Own { len: 5_000 }).make().nar);
    }

    #[test]
    fn a_path_like_another_has_its_nar_under_a_name_of_its_own() {
        let one = recipe(1, Contents::Own { len: 900 }).make();
        let like = recipe(2, Contents::Like { serial: 1, len: 900 }).make();
        assert_eq!(one.nar_hash(), like.nar_hash());
        assert_ne!(one.hash(), like.hash());
    }

    #[test]
    fn paths_with_one_beginning_share_chunks() {
        let chunks = |serial| {
            let contents = Contents::Shared { pool: 1, len: 30_000 };
            recipe(serial, contents).make().chunks()
        };
        let (one, other) = (chunks(1), chunks(2));
        assert_eq!(one[0].hash, other[0].hash);
        assert_ne!(one.last().unwrap().hash, other.last().unwrap().hash);
    }
}
