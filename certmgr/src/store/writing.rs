//! Writes that a disk may delay.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{STATE_DEADLINE, StoreError};

/// The writes of one document, one after the other. Each is waited for no longer than [`STATE_DEADLINE`]; one that
/// was given up may still take effect, so no second one is begun beside it.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// A write that was given up.
    running: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Writing {
    /// Waits until no write is in progress; the outcome of an earlier write does not count. `name` is for the
    /// error, which says that the disk does not answer. Cancelled, it forgets the write.
    pub(crate) async fn settled(&mut self, name: &str) -> Result<(), StoreError> {
        if let Some(mut earlier) = self.running.take()
            && timeout(STATE_DEADLINE, &mut earlier).await.is_err()
        {
            self.running = Some(earlier);
            return Err(StoreError::hanging(name));
        }
        Ok(())
    }

    /// Writes, once [`settled`](Self::settled). Cancelled or given up, the write may still happen.
    pub(crate) async fn run(
        &mut self,
        name: &str,
        write: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut running = tokio::spawn(write);
        match timeout(STATE_DEADLINE, &mut running).await {
            Ok(ended) => ended.unwrap_or_else(|panicked| Err(StoreError::new(name, panicked))),
            Err(_) => {
                self.running = Some(running);
                Err(StoreError::hanging(name))
            }
        }
    }
}
