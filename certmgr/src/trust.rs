//! Trust bundles.

mod event;

pub use event::TrustEvent;
