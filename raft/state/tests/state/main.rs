//! What the replicated state promises, as a specification.
//!
//! Every command goes through [`fixture::World`], which checks every invariant after each apply, and that a refused
//! command changed nothing.

mod audit;
mod caches;
mod check;
mod cluster;
mod fixture;
mod golden;
mod ground;
mod ground_check;
mod ground_records;
mod invites;
mod limits;
mod members;
mod paths;
mod precedence;
mod properties;
mod proposals;
mod publishing;
mod refusals;
mod retention;
mod samples;
mod snapshot;
mod tables;
mod tokens;
