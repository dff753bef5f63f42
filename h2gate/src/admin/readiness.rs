//! Readiness: tells load balancers if this process should get new connections.

use std::fmt;

use tokio::sync::watch;

/// The stage of the process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Listeners are not bound, or a certificate has neither been read for the first time nor serves what was kept.
    Starting,
    /// New connections are welcome.
    Ready,
    /// Streams may end; new connections belong elsewhere.
    Draining,
}

impl Phase {
    /// New connections are welcome.
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting: the first read of the certificates has not ended",
            Self::Ready => "ready",
            Self::Draining => "draining: open streams may end, new connections belong elsewhere",
        })
    }
}

/// The phase, set by the program and watched by whoever tells of it. Never goes back.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<Phase>);

impl Default for Readiness {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }
}

impl Readiness {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Goes on to a later phase; an earlier one is ignored, so that a late first read cannot end a drain.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = (*now as u8) < (phase as u8);
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Follows the phase.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_not_ended_by_a_late_first_read() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.advance(Phase::Draining);
        readiness.advance(Phase::Ready);
        assert_eq!(readiness.phase(), Phase::Draining);
    }
}
