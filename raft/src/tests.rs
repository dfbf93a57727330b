//! The crate as a whole, on disks and networks in memory, and once on real ones.

mod audit;
mod cluster;
mod crash;
mod durability;
mod formats;
mod levels;
#[cfg(feature = "mutants")]
mod mutants;
mod observe;
mod plan;
mod proposals;
mod reads;
mod recover;
mod restart;
mod snapshots;
mod storage_suite;
mod supervise;
