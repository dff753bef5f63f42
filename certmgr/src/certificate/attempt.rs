//! One round over the CAs for one certificate: lease → look again → note → issue. It owns all it needs, so the
//! certificate's task can carry out commands meanwhile; dropped at any point, it can be continued.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::Fingerprint;
use tokio::time::{Instant, timeout};

use super::orders::Orders;
use crate::acme::{Issued, OrderLimiter, OrderPermit};
use crate::error::{IssueError, IssueFault};
use crate::kept::{Unloaded, Version, load};
use crate::lease::Guard;
use crate::ledger::{Attempt, NotNow, Noted, Order, OrderKind, Wait, lease_of};
use crate::schedule::MonotonicTime;
use crate::store::{BoxFuture, Document, STATE_DEADLINE, StoreError};

/// Limit for a step of the ledger: it waits for other processes, reads and writes.
const LEDGER_DEADLINE: Duration = STATE_DEADLINE.saturating_mul(3);

/// Remedy for a state directory that cannot be used.
const STATE_REMEDY: &str =
    "free space in `state_dir`, let h2gate read and write there, or do what the message says";

/// Facts known before the round.
#[derive(Debug)]
pub(super) struct Before {
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
pub(super) enum Outcome {
    /// A chain from a CA, not proved yet.
    Arrived(Box<Arrived>),
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
pub(super) struct Arrived {
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
    pub(super) held_since: Option<Instant>,
    /// Held until the chain is dealt with, so that no other process orders meanwhile.
    pub(super) _leases: [Guard; 2],
}

/// A CA that did not issue, or could not be asked, before another CA issued.
#[derive(Debug)]
pub(super) enum PassedOver {
    Failed(IssueError),
    Limited(Wait),
}

/// Runs one round. `_turn` is held until its end.
pub(super) async fn run(orders: Arc<Orders>, before: Before, _permit: OrderPermit) -> Outcome {
    let began = Instant::now();
    let name = orders.config.name.as_str();
    let (domains, key) = (&orders.config.domains, orders.source.key);
    let leases = match timeout(STATE_DEADLINE, leases(&orders, &lease_of(domains, key))).await {
        Ok(Ok(Some(leases))) => leases,
        Ok(Ok(None)) => return Outcome::Busy,
        Ok(Err(error)) => return Outcome::Failed(state_fault(&error)),
        Err(_) => return Outcome::Failed(state_fault(&StoreError::hanging(name))),
    };
    // Acquire, look again, then act: the plan's knowledge may be old.
    let record = orders.ledger.record(domains, key, &orders.source.cas);
    match timeout(LEDGER_DEADLINE, record).await {
        Ok(Ok(record)) if record.last_issued.map(|last| last.at) != before.issued_at => return Outcome::Busy,
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Outcome::Failed(state_fault(&error)),
        Err(_) => return Outcome::Failed(state_fault(&StoreError::hanging(name))),
    }
    let document = Document::Certificate(name.to_owned());
    match load(Arc::clone(&orders.state.store), &document).await {
        Ok(Some((kept, _))) => {
            let newest = kept.versions.first().map(Version::fingerprint);
            if newest.is_some_and(|newest| !before.fingerprints.contains(&newest)) {
                return Outcome::Elsewhere;
            }
        }
        // A broken document is reported at the start, and does not prevent an order.
        Ok(None) | Err(Unloaded::Broken(_)) => {}
        Err(Unloaded::Unread { text, remedy }) => {
            return Outcome::Failed(IssueError {
                class: IssueFault::State,
                ca: String::new(),
                text: format!("nothing is ordered: {text}"),
                remedy: remedy.to_owned(),
                retry_after: None,
            });
        }
    }
    let mut passed_over = Vec::new();
    for ca in 0..orders.source.cas.len() {
        match ask(&orders, ca, &before).await {
            Ok((issued, attempt)) => {
                return Outcome::Arrived(Box::new(Arrived {
                    issued,
                    ca,
                    attempt: Some(attempt),
                    passed_over,
                    began,
                    held_since: None,
                    _leases: leases,
                }));
            }
            Err(Refused::Wait(wait)) => passed_over.push(PassedOver::Limited(wait)),
            Err(Refused::Store(error)) => return Outcome::Failed(state_fault(&error)),
            Err(Refused::Issue(error)) => passed_over.push(PassedOver::Failed(error)),
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
        (Some(failure), _) => Outcome::Failed(failure),
        (None, Some(wait)) => Outcome::Limited(wait),
        (None, None) => Outcome::Failed(IssueError {
            class: IssueFault::Configuration,
            ca: String::new(),
            text: "no CA is configured".to_owned(),
            remedy: "name one".to_owned(),
            retry_after: None,
        }),
    }
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

enum Refused {
    Wait(Wait),
    Store(StoreError),
    Issue(IssueError),
}

/// Asks one CA, once the ledger has allowed and noted it.
async fn ask(orders: &Arc<Orders>, ca: usize, before: &Before) -> Result<(Issued, Attempt), Refused> {
    let (config, source) = (&orders.config, &orders.source);
    let Some(asked) = source.cas.get(ca) else {
        return Err(Refused::Store(StoreError::new(&config.name, "no such CA")));
    };
    let replaces = before
        .replaces
        .as_ref()
        .filter(|(from, _)| *from == ca)
        .map(|(_, leaf)| leaf.clone());
    let mut request = orders.request(ca, replaces);
    let unfinished = orders.issuer.has_unfinished(&request).await;
    let kind = match (unfinished.map_err(Refused::Issue)?, &request.replaces) {
        (true, _) => OrderKind::Resumed,
        (false, Some(_)) => OrderKind::Replacing,
        (false, None) => OrderKind::New,
    };
    let order = Order {
        domains: &config.domains,
        key: source.key,
        ca: asked,
        kind,
        by_hand: before.by_hand,
    };
    let attempt = timeout(LEDGER_DEADLINE, orders.ledger.intend(order))
        .await
        .unwrap_or_else(|_| Err(NotNow::Store(StoreError::hanging(&config.name))))
        .map_err(|refused| match refused {
            NotNow::Wait(wait) => Refused::Wait(wait),
            NotNow::Store(error) => Refused::Store(error),
        })?;
    request.limiter = Some(Arc::new(Noting {
        orders: Arc::clone(orders),
        ca,
        noted: attempt.noted(),
    }));
    let mut issued = orders.issuer.issue(&request).await;
    if let Ok(finished) = &issued
        && before.orders.contains(&finished.order)
    {
        // A crash has left the note of an order whose certificate is kept: it is not the wanted one.
        issued = match orders.issuer.done(&config.name).await {
            Ok(()) => orders.issuer.issue(&request).await,
            Err(error) => Err(error),
        };
    }
    match issued {
        Ok(issued) => Ok((issued, attempt)),
        Err(mut error) => {
            if let Err(unwritten) = orders.ledger.failed(attempt, &error).await {
                tracing::warn!(certificate = config.name, "the ledger of orders: {unwritten}");
            }
            if let Some(warning) = orders.ledger.warning(order).await {
                error.text = format!("{}; {warning}", error.text);
            }
            Err(Refused::Issue(error))
        }
    }
}

/// The note of an attempt in the ledger, whose kind may turn out to be another one.
struct Noting {
    orders: Arc<Orders>,
    ca: usize,
    noted: Noted,
}

impl OrderLimiter for Noting {
    fn permit(&self, replacing: bool) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async move {
            let Some(ca) = self.orders.source.cas.get(self.ca) else {
                return Ok(());
            };
            let order = Order {
                domains: &self.orders.config.domains,
                key: self.orders.source.key,
                ca,
                kind: if replacing {
                    OrderKind::Replacing
                } else {
                    OrderKind::New
                },
                // The attempt was slowed down before it was noted.
                by_hand: true,
            };
            let noted = timeout(LEDGER_DEADLINE, self.orders.ledger.note_as(self.noted, order));
            match noted.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(NotNow::Wait(wait))) => Err(IssueError {
                    class: IssueFault::RateLimited,
                    ca: ca.name.clone(),
                    text: format!("it would have to be a new order: {wait}"),
                    remedy: "wait: it is tried again".to_owned(),
                    retry_after: None,
                }),
                Ok(Err(NotNow::Store(error))) => Err(state_fault(&error)),
                Err(_) => Err(state_fault(&StoreError::hanging(&self.orders.config.name))),
            }
        })
    }

    fn count_failure<'a>(&'a self, error: &'a IssueError) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let name = &self.orders.config.name;
            let noted = timeout(LEDGER_DEADLINE, self.orders.ledger.has_failed(self.noted, error));
            if let Err(unwritten) = noted.await.unwrap_or_else(|_| Err(StoreError::hanging(name))) {
                tracing::warn!(certificate = name, "the ledger of orders: {unwritten}");
            }
        })
    }
}

impl fmt::Debug for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Noting").field(&self.noted).finish()
    }
}

/// The error for a state directory that cannot be used: nothing may be ordered whose key could be lost.
pub(super) fn state_fault(error: &StoreError) -> IssueError {
    IssueError {
        class: IssueFault::State,
        ca: String::new(),
        text: format!("nothing is ordered, for its key could not be kept: {error}"),
        remedy: STATE_REMEDY.to_owned(),
        retry_after: None,
    }
}
