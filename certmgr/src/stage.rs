//! How far a task has come since the start of the program.

use tokio::sync::watch;

/// What a certificate's or a trust bundle's task has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing.
    Started,
    /// What is kept serves, if anything of it can.
    Restored,
    /// It serves, or the first read has ended, or neither is waited for.
    Loaded,
}

impl Stage {
    /// It has come so far, or farther.
    pub(crate) fn reach(self, stage: &watch::Sender<Self>) {
        stage.send_if_modified(|now| {
            let is_later = *now < self;
            *now = self.max(*now);
            is_later
        });
    }
}
