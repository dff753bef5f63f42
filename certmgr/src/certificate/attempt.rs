//! One round over the CAs for one certificate: lease → look again → note → issue. It owns all it needs, so the
//! certificate's task can carry out commands meanwhile; dropped at any point, it can be continued.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::Fingerprint;
use tokio::time::{Instant, timeout};

use super::orders::Orders;
use crate::acme::{Issued, OrderLimiter, OrderPermit};
use crate::config::Ca;
use crate::error::{IssueError, IssueFault};
use crate::kept::{KeptVersion, load};
use crate::lease::Guard;
use crate::ledger::{Attempt, NotNow, Noted, OrderKind, Wait, lease_of};
use crate::schedule::MonotonicTime;
use crate::store::{BoxFuture, LoadError, STATE_DEADLINE, StoreError};

/// Limit for a step of the ledger: it waits for other processes, reads and writes.
const LEDGER_DEADLINE: Duration = STATE_DEADLINE.saturating_mul(3);

/// Remedy for a state directory that cannot be used.
const STATE_REMEDY: &str =
    "free space in `state_dir`, let h2gate read and write there, or do what the message says";

/// Facts known before the round.
#[derive(Debug)]
pub(super) struct RoundFacts {
    /// DER of the serving leaf, and the position of its CA.
    pub(super) replaces: Option<(usize, Vec<u8>)>,
    /// Fingerprints of the kept versions, as far as this process knows.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// The orders of these versions.
    pub(super) orders: Vec<String>,
    /// Time at which a CA last issued for the same names, as the plan knew.
    pub(super) issued_at: Option<MonotonicTime>,
    /// An operator asks for it.
    pub(super) by_hand: bool,
}

/// End of the round.
pub(super) enum RoundOutcome {
    /// A chain from a CA, not proved yet.
    Issued(Box<IssuedChain>),
    /// Another process has renewed the certificate meanwhile.
    Elsewhere,
    /// Another process is ordering it, or another certificate for the same names; or was a moment ago.
    Busy,
    /// The limits of every CA forbid it; this limit ends first.
    Limited(Wait),
    /// No CA issued.
    Failed(IssueError),
}

/// A chain from a CA, and the right to act on it.
pub(super) struct IssuedChain {
    pub(super) issued: Issued,
    /// Position of the CA.
    pub(super) ca: usize,
    /// `None` once its outcome is noted.
    pub(super) attempt: Option<Attempt>,
    /// The CAs before this one, with the reasons why they did not issue.
    pub(super) passed_over: Vec<PassedOver>,
    /// Beginning of the round.
    pub(super) began: Instant,
    /// Instant since which the chain waits, for it cannot be proved yet.
    pub(super) postponed_since: Option<Instant>,
    /// Held until the chain is dealt with, so that no other process orders meanwhile.
    pub(super) _leases: [Guard; 2],
}

/// A CA that did not issue, or could not be asked, before another CA issued.
#[derive(Debug)]
pub(super) enum PassedOver {
    Failed(IssueError),
    Limited(Wait),
}

/// Runs one round. `_permit` is held until its end.
pub(super) async fn run(orders: Arc<Orders>, before: RoundFacts, _permit: OrderPermit) -> RoundOutcome {
    round(&orders, &before).await.unwrap_or_else(RoundOutcome::Failed)
}

async fn round(orders: &Arc<Orders>, before: &RoundFacts) -> Result<RoundOutcome, IssueError> {
    let began = Instant::now();
    let (name, source) = (orders.config.name.as_str(), &orders.source);
    let (domains, key) = (&orders.config.domains, source.key);
    let names = lease_of(domains, key);
    let Some(leases) = within(STATE_DEADLINE, name, leases(orders, &names)).await? else {
        return Ok(RoundOutcome::Busy);
    };
    // Acquire, look again, then act: the plan's knowledge may be old.
    let record = orders.ledger.record(domains, key, &source.cas);
    let record = within(LEDGER_DEADLINE, name, record).await?;
    if record.last_issued.map(|last| last.at) != before.issued_at {
        return Ok(RoundOutcome::Busy);
    }
    match load(&*orders.state.store, name).await {
        Ok(Some((kept, _))) => {
            let newest = kept.versions.first().map(KeptVersion::fingerprint);
            if newest.is_some_and(|newest| !before.fingerprints.contains(&newest)) {
                return Ok(RoundOutcome::Elsewhere);
            }
        }
        // A broken document is reported at the start, and does not prevent an order.
        Ok(None) | Err(LoadError::Broken(_)) => {}
        Err(LoadError::Unread { text, remedy }) => {
            let text = format!("nothing is ordered: {text}");
            return Err(IssueError::new(IssueFault::State, text, remedy));
        }
    }
    let mut passed_over = Vec::new();
    for (position, ca) in source.cas.iter().enumerate() {
        match ask(orders, position, ca, before).await? {
            Ok((issued, attempt)) => {
                return Ok(RoundOutcome::Issued(Box::new(IssuedChain {
                    issued,
                    ca: position,
                    attempt: Some(attempt),
                    passed_over,
                    began,
                    postponed_since: None,
                    _leases: leases,
                })));
            }
            Err(passed) => passed_over.push(passed),
        }
    }
    let (mut failure, mut shortest) = (None::<IssueError>, None::<Wait>);
    for passed in passed_over {
        match (passed, &mut failure) {
            (PassedOver::Limited(wait), _) => {
                if shortest.as_ref().is_none_or(|shortest| wait.wait < shortest.wait) {
                    shortest = Some(wait);
                }
            }
            (PassedOver::Failed(error), Some(first)) => {
                first.text = format!("{}; {}: {}", first.text, error.ca, error.text);
            }
            (PassedOver::Failed(error), None) => failure = Some(error),
        }
    }
    match (failure, shortest) {
        (Some(failure), _) => Err(failure),
        (None, Some(wait)) => Ok(RoundOutcome::Limited(wait)),
        (None, None) => Err(IssueError::new(
            IssueFault::Configuration,
            "no CA is configured",
            "name one",
        )),
    }
}

/// The outcome of a step that needs the state directory.
async fn within<T>(
    limit: Duration,
    name: &str,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, IssueError> {
    let ended = timeout(limit, step).await;
    ended
        .unwrap_or_else(|_| Err(StoreError::hanging(name)))
        .map_err(|error| state_fault(&error))
}

/// The right to order for the certificate, and the right to order for its names.
async fn leases(orders: &Orders, names: &str) -> Result<Option<[Guard; 2]>, StoreError> {
    let lease = &orders.state.lease;
    let Some(own) = lease.try_acquire(&orders.config.name).await? else {
        return Ok(None);
    };
    let shared = lease.try_acquire(names).await?;
    Ok(shared.map(|shared| [own, shared]))
}

/// Asks one CA, once the ledger has allowed and noted it. An error ends the round.
async fn ask(
    orders: &Arc<Orders>,
    position: usize,
    ca: &Ca,
    before: &RoundFacts,
) -> Result<Result<(Issued, Attempt), PassedOver>, IssueError> {
    let name = orders.config.name.as_str();
    let replaces = before.replaces.as_ref().filter(|(from, _)| *from == position);
    let mut request = orders.request(position, replaces.map(|(_, leaf)| leaf.clone()));
    let kind = match orders.issuer.has_unfinished(&request).await {
        Ok(true) => OrderKind::Resumed,
        Ok(false) if request.replaces.is_some() => OrderKind::Replacing,
        Ok(false) => OrderKind::New,
        Err(error) => return Ok(Err(PassedOver::Failed(error))),
    };
    let order = orders.order(ca, kind, before.by_hand);
    let intent = timeout(LEDGER_DEADLINE, orders.ledger.intend(order)).await;
    let attempt = match intent.unwrap_or_else(|_| Err(NotNow::Store(StoreError::hanging(name)))) {
        Ok(attempt) => attempt,
        Err(NotNow::Wait(wait)) => return Ok(Err(PassedOver::Limited(wait))),
        Err(NotNow::Store(error)) => return Err(state_fault(&error)),
    };
    request.limiter = Some(Arc::new(AttemptLimiter {
        orders: Arc::clone(orders),
        ca: ca.clone(),
        noted: attempt.noted(),
    }));
    let mut issued = orders.issuer.issue(&request).await;
    if let Ok(finished) = &issued
        && before.orders.contains(&finished.order)
    {
        // A crash has left the note of an order whose certificate is kept: it is not the wanted one.
        issued = match orders.issuer.done(name).await {
            Ok(()) => orders.issuer.issue(&request).await,
            Err(error) => Err(error),
        };
    }
    match issued {
        Ok(issued) => Ok(Ok((issued, attempt))),
        Err(mut error) => {
            let noted = orders.ledger.failed(attempt, &error).await;
            orders.ledger.report_unwritten(name, noted);
            if let Some(warning) = orders.ledger.warning(order).await {
                error.text = format!("{}; {warning}", error.text);
            }
            Ok(Err(PassedOver::Failed(error)))
        }
    }
}

/// The note of an attempt in the ledger, whose kind may turn out to be another one.
struct AttemptLimiter {
    orders: Arc<Orders>,
    ca: Ca,
    noted: Noted,
}

impl OrderLimiter for AttemptLimiter {
    fn permit(&self, replacing: bool) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async move {
            let kind = match replacing {
                true => OrderKind::Replacing,
                false => OrderKind::New,
            };
            // The attempt was slowed down before it was noted.
            let order = self.orders.order(&self.ca, kind, true);
            let noted = timeout(LEDGER_DEADLINE, self.orders.ledger.note_as(self.noted, order)).await;
            let hanging = |_| Err(NotNow::Store(StoreError::hanging(&self.orders.config.name)));
            noted.unwrap_or_else(hanging).map_err(|refused| match refused {
                NotNow::Wait(wait) => {
                    let text = format!("it would have to be a new order: {wait}");
                    IssueError::new(IssueFault::RateLimited, text, "wait: it is tried again").at(&self.ca)
                }
                NotNow::Store(error) => state_fault(&error),
            })
        })
    }

    fn count_failure<'a>(&'a self, error: &'a IssueError) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let name = &self.orders.config.name;
            let noted = timeout(LEDGER_DEADLINE, self.orders.ledger.has_failed(self.noted, error));
            let noted = noted.await.unwrap_or_else(|_| Err(StoreError::hanging(name)));
            self.orders.ledger.report_unwritten(name, noted);
        })
    }
}

impl fmt::Debug for AttemptLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptLimiter").field(&self.noted).finish()
    }
}

/// The error for a state directory that cannot be used: nothing may be ordered whose key could be lost.
pub(super) fn state_fault(error: &StoreError) -> IssueError {
    let text = format!("nothing is ordered, for its key could not be kept: {error}");
    IssueError::new(IssueFault::State, text, STATE_REMEDY)
}
