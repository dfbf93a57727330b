//! What belongs to Nix on this machine: its configuration, its netrc, and its command.

pub(crate) mod command;
pub(crate) mod conf;
pub(crate) mod conf_files;
pub(crate) mod netrc;
