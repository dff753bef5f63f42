//! What an order left behind in the DNS that a crash or a reload ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Orders;
use crate::acme::IssueError;
use crate::store::STATE_DEADLINE;

/// Between two looks whether a task that was ended has let go.
const LOOK: Duration = Duration::from_millis(100);

/// Removes it. `false`: another process or task is at it.
pub(super) async fn take_back(orders: &Orders) -> Result<bool, IssueError> {
    let name = &orders.config.name;
    match timeout(STATE_DEADLINE, orders.state.lease.try_acquire(name)).await {
        Ok(Ok(Some(_lease))) => orders.issuer.clean_up(name).await.map(|()| true),
        Ok(Ok(None)) => Ok(false),
        // The next order says what is wrong with the state.
        Ok(Err(_)) | Err(_) => Ok(true),
    }
}

/// Removes it for a certificate that nobody orders any more, once its task has let go. No later order would.
pub(crate) async fn leave(orders: Arc<Orders>) {
    let until = Instant::now() + STATE_DEADLINE;
    loop {
        match take_back(&orders).await {
            Ok(false) if Instant::now() < until => sleep(LOOK).await,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(
                    certificate = orders.config.name,
                    "what its last order left behind is still there, and it is not ordered any more: {error} ({}; \
                     then remove the TXT records by hand)",
                    error.remedy
                );
                return;
            }
        }
    }
}
