use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// The future's answer, or a failed test that names what did not happen.
pub async fn within<T>(what: impl Display, limit: Duration, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(answer) => answer,
        Err(_) => panic!("within {limit:?}: {what}"),
    }
}

/// Asks again and again until there is an answer; a failed test after `limit`.
pub async fn eventually<T>(
    what: impl Display,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up_at = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up_at, "within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
