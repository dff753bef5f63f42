//! One file per command; each is called by [`crate::main`] with its arguments and tells the exit code.

pub mod check;
pub mod demo;
pub mod run;
pub mod schema;
pub mod version;
