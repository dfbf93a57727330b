//! The real binary: first start, later starts, crashes, signals, refusals.

mod fixture;
mod join;
mod life;
mod presence;
mod refusals;
mod wire;
