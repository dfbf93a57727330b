//! The crate as a whole, on disks and networks in memory, and once on real ones.

mod cluster;
mod crash;
mod formats;
mod proposals;
mod restart;
mod snapshots;
mod storage_suite;
