//! Progress of a task since the start of the program.

use tokio::sync::watch;

/// Stages that a certificate's or a trust bundle's task has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing.
    Started,
    /// The kept version serves, if any can.
    Restored,
    /// A bundle serves, or the first read has ended, or neither is waited for.
    Loaded,
}

impl Stage {
    /// Raises the stage to at least this one.
    pub(crate) fn reach(self, stage: &watch::Sender<Self>) {
        stage.send_if_modified(|now| {
            let is_later = *now < self;
            *now = self.max(*now);
            is_later
        });
    }
}
