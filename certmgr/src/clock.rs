//! The seams to time and chance: the program's start gives both.

use std::sync::Arc;

use certstore::UnixTime;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Gives numbers from 0 up to but not including 1.
pub type Random = Arc<dyn Fn() -> f64 + Send + Sync>;
