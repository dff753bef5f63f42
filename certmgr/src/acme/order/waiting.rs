//! Waiting for the CA, and the reasons that the CA gives when an order fails.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{OrderAttempt, OrderError};
use crate::acme::authorization::max_authorizations;
use crate::acme::problem::{class_of_challenge, named, remedy_of_challenge, words};
use crate::acme::resources::{Order, OrderStatus};
use crate::error::{IssueError, IssueFault};

/// Time between two looks at the order, at first and at most, if the CA does not ask for another.
const FIRST_POLL_WAIT: Duration = Duration::from_millis(250);
const MAX_POLL_WAIT: Duration = Duration::from_secs(5);

/// The longest wait that the CA may ask for between two looks.
const MAX_CA_POLL_WAIT: Duration = Duration::from_secs(60);

/// Number of looks in a row that may fail before the attempt ends. The order stays noted.
const MAX_FAILED_POLLS: u32 = 5;

/// Number of names whose reasons an error repeats.
const MAX_REASONS: usize = 10;

/// Backoff between two looks: the time that the CA asks for, within bounds, else twice the one before.
struct PollBackoff(Duration);

impl Default for PollBackoff {
    fn default() -> Self {
        Self(FIRST_POLL_WAIT)
    }
}

impl PollBackoff {
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let least = self.0;
        self.0 = (least * 2).min(MAX_POLL_WAIT);
        asked.map_or(least, |asked| asked.clamp(least, MAX_CA_POLL_WAIT))
    }
}

impl OrderAttempt<'_> {
    /// Looks at the order until it has another status.
    pub(super) async fn wait_while(&self, order: &mut Order, status: OrderStatus) -> Result<(), OrderError> {
        let deadline = Instant::now() + self.client.max_wait;
        let mut pace = PollBackoff::default();
        let mut asked = None;
        let mut failed = 0;
        while order.status == status {
            let wait = pace.next(asked);
            if Instant::now() + wait > deadline {
                return Err(OrderError::Stuck(self.account.error(
                    IssueFault::Unreachable,
                    &format!(
                        "the order is still `{}` after {} s",
                        shown(status),
                        self.client.max_wait.as_secs()
                    ),
                )));
            }
            sleep(wait).await;
            match self.account.order(&order.url).await {
                Ok(read) => {
                    (failed, asked) = (0, read.retry_after);
                    *order = read;
                }
                Err(error) if error.is_refusal() || failed == MAX_FAILED_POLLS => {
                    return Err(OrderError::of_last_chance(self.account, error, "look at the order"));
                }
                Err(error) => {
                    (failed, asked) = (failed + 1, error.head.retry_after);
                }
            }
        }
        Ok(())
    }

    /// The reasons of the CA, for each name that it could not validate.
    pub(super) async fn reasons(&self, order: &Order) -> Vec<FailedName> {
        let mut found = Vec::new();
        for url in order.authorizations.iter().take(max_authorizations(self.request)) {
            let authorization = match self.account.authorization(url).await {
                Ok(authorization) => authorization,
                Err(error) => {
                    debug!(?error, "the reasons could not be read");
                    break;
                }
            };
            found.extend(authorization.problems().map(|problem| FailedName {
                name: named(&authorization.domain()),
                words: words(problem),
                kind: problem.r#type.clone(),
            }));
        }
        found
    }

    /// Makes the error of a failed order from these reasons.
    pub(super) fn why_invalid(&self, order: &Order, found: &[FailedName]) -> IssueError {
        let challenge = &self.client.source.challenge;
        let mut error = self.account.error(IssueFault::Refused, "the CA gives no reason");
        if let Some(problem) = &order.error {
            error.text = words(problem);
            error.remedy = "do what the CA's words say".to_owned();
        }
        if let Some(FailedName { name, kind, .. }) = found.first() {
            error.class = class_of_challenge(kind.as_deref());
            error.remedy = remedy_of_challenge(challenge, name, kind.as_deref());
            let mut words: Vec<String> = found
                .iter()
                .take(MAX_REASONS)
                .map(|reason| format!("{}: {}", reason.name, reason.words))
                .collect();
            if found.len() > MAX_REASONS {
                words.push(format!("and {} more", found.len() - MAX_REASONS));
            }
            error.text = words.join("; ");
        }
        error.text = format!("the order has failed: {}", error.text);
        error
    }
}

/// The reason for which a name failed at the CA.
pub(super) struct FailedName {
    name: String,
    words: String,
    kind: Option<String>,
}

fn shown(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "pending",
        OrderStatus::Ready => "ready",
        OrderStatus::Processing => "processing",
        OrderStatus::Valid => "valid",
        OrderStatus::Invalid => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_and_the_cas_wish_is_followed_within_bounds() {
        let mut pace = PollBackoff::default();
        let waits: Vec<u128> = (0..7).map(|_| pace.next(None).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        let mut asked = |seconds| pace.next(Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(0), 5);
        assert_eq!(asked(20), 20);
        // ZeroSSL asks for a day, and is ready within seconds.
        assert_eq!(asked(86_400), 60);
    }
}
