//! Waiting for the CA, and the reasons that the CA gives when an order fails.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{OrderAttempt, OrderError, OrderFate, TRIED_AGAIN};
use crate::acme::authorization::max_authorizations;
use crate::acme::problem::{class_of_challenge, named, problem_text, remedy_of_challenge, remedy_of_class};
use crate::acme::resources::{AcmeOrder, OrderStatus};
use crate::error::{IssueError, IssueFault};
use crate::event::EventKind;

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

impl PollBackoff {
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let least = self.0;
        self.0 = (least * 2).min(MAX_POLL_WAIT);
        asked.map_or(least, |asked| asked.clamp(least, MAX_CA_POLL_WAIT))
    }
}

impl OrderAttempt<'_> {
    /// Looks at the order until it has another status.
    pub(super) async fn wait_while(
        &self,
        order: &mut AcmeOrder,
        status: OrderStatus,
    ) -> Result<(), OrderError> {
        let deadline = Instant::now() + self.client.max_wait;
        let mut backoff = PollBackoff(FIRST_POLL_WAIT);
        let mut asked = None;
        let mut failed = 0;
        while order.status == status {
            let wait = backoff.next(asked);
            if Instant::now() + wait > deadline {
                // Its name in the protocol is that of the variant in lower case.
                let status = format!("{status:?}").to_lowercase();
                let waited = self.client.max_wait.as_secs();
                let text = format!("the order is still `{status}` after {waited} s");
                let error = IssueError::new(IssueFault::Unreachable, text, TRIED_AGAIN);
                return Err(OrderFate::Stuck.after(error));
            }
            sleep(wait).await;
            match self.account.order(&order.url).await {
                Ok(read) => {
                    (failed, asked) = (0, read.retry_after);
                    *order = read;
                }
                Err(error) if error.is_refusal() || failed == MAX_FAILED_POLLS => {
                    return Err(self.account.failed_for_good("look at the order")(error));
                }
                Err(error) => {
                    (failed, asked) = (failed + 1, error.head.retry_after);
                }
            }
        }
        Ok(())
    }

    /// The reasons of the CA, for each name that it could not validate.
    pub(super) async fn failed_names(&self, order: &AcmeOrder) -> Vec<FailedName> {
        let mut found = Vec::new();
        for url in order.authorizations.iter().take(max_authorizations(self.request)) {
            let authorization = match self.account.authorization(url).await {
                Ok(authorization) => authorization,
                Err(error) => {
                    let error = error.into_error(&self.account.session.ca, "read an authorization");
                    let order = order.url.clone();
                    self.report(EventKind::OrderUnread { order, error });
                    break;
                }
            };
            found.extend(authorization.problems().map(|problem| FailedName {
                name: named(&authorization.domain()),
                text: problem_text(problem),
                kind: problem.r#type.clone(),
            }));
        }
        found
    }

    /// Makes the error of a failed order.
    pub(super) fn failed_order(&self, order: &AcmeOrder, failed: &[FailedName]) -> IssueError {
        let (class, text, remedy) = match (failed.first(), &order.error) {
            (Some(FailedName { name, kind, .. }), _) => {
                let kind = kind.as_deref();
                let names = failed.iter().take(MAX_REASONS);
                let mut texts: Vec<String> = names.map(|one| format!("{}: {}", one.name, one.text)).collect();
                if failed.len() > MAX_REASONS {
                    texts.push(format!("and {} more", failed.len() - MAX_REASONS));
                }
                let remedy = remedy_of_challenge(&self.client.source.challenge, name, kind);
                (class_of_challenge(kind), texts.join("; "), remedy)
            }
            (None, Some(problem)) => {
                let remedy = remedy_of_class(IssueFault::Refused).to_owned();
                (IssueFault::Refused, problem_text(problem), remedy)
            }
            (None, None) => {
                let text = "the CA gives no reason".to_owned();
                (IssueFault::Refused, text, TRIED_AGAIN.to_owned())
            }
        };
        IssueError::new(class, format!("the order has failed: {text}"), remedy).at(self.ca())
    }
}

/// The reason for which a name failed at the CA.
pub(super) struct FailedName {
    name: String,
    text: String,
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_and_the_cas_wish_is_applied_within_bounds() {
        let mut backoff = PollBackoff(FIRST_POLL_WAIT);
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(None).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        let mut asked = |seconds| backoff.next(Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(0), 5);
        assert_eq!(asked(20), 20);
        // ZeroSSL asks for a day, and is ready within seconds.
        assert_eq!(asked(86_400), 60);
    }
}
