//! Options that hold for all certificates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::UnixTime;

use crate::clock::{Clock, Random};
use crate::event::Observer;
use crate::state::State;

/// Options for all tasks. The defaults are right for a server.
#[derive(Clone)]
pub struct Options {
    /// Time between two reads of a source, if nothing reports a change.
    pub poll: Duration,
    /// Time for which a pair may be incomplete (a new chain beside an old key) before it is reported as a refusal.
    pub settle: Duration,
    /// Directories are watched as well. Off for file systems that report nothing, and in tests.
    pub watch: bool,
    /// The ALPN lists of the listeners; an empty list stands for a client without ALPN.
    pub alpn: Vec<Vec<Vec<u8>>>,
    /// The clock for validity. Must not block.
    pub now: Clock,
    /// Called with each event. Logging happens anyway.
    pub observer: Option<Observer>,
    /// The state directory, which keeps the serving pairs, the accounts at CAs and the record of orders. `None`: a cold
    /// start needs its sources, and an ACME certificate fails with an error that says so.
    pub state: Option<State>,
    /// Number of orders at CAs in progress at once, all certificates together.
    pub max_orders: usize,
    /// Chance, for actions that must not happen everywhere at once.
    pub random: Random,
}

impl Default for Options {
    #[expect(clippy::disallowed_methods, reason = "the seams to clock and chance")]
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            settle: Duration::from_secs(1),
            watch: true,
            alpn: certstore::Requirements::default().alpn,
            now: Arc::new(UnixTime::now),
            observer: None,
            state: None,
            max_orders: 4,
            random: Arc::new(rand::random::<f64>),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("poll", &self.poll)
            .field("settle", &self.settle)
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}
