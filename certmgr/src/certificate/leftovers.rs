//! Remains of an order that a crash or a reload ended: TXT records, and its note with the key.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::orders::{Ordering, Orders};
use crate::acme::Issuer;
use crate::config::{AcmeSource, Challenge, DnsProvider};
use crate::error::{IssueError, IssueFault};
use crate::event::{EventKind, Reporter};
use crate::lease::Guard;
use crate::state::State;
use crate::store::{ORDERS, STATE_DEADLINE};

/// Limit for one attempt to clear: a DNS provider answers within minutes, or a command for each record.
const LONGEST_CLEARING: Duration = Duration::from_secs(15 * 60);

/// The waits before each attempt to clear. After the last one the remains are left to the next start.
const ATTEMPTS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
];

/// Removes the records of an order that is continued. `false`: another process or task has its lease, or the state
/// cannot be used, which the next order reports.
pub(super) async fn remove_records(orders: &Orders) -> Result<bool, IssueError> {
    let name = &orders.config.name;
    match orders.state.lease.try_acquire(name).await {
        Ok(Some(_lease)) => orders.issuer.clean_up(name).await.map(|()| true),
        Ok(None) | Err(_) => Ok(false),
    }
}

/// Does the same by `before`, for a certificate with another way of proof now: only the issuer that wrote the records
/// knows how to remove them. Its task has been ended, and releases its lease within moments.
pub(super) async fn remove_records_as_before(before: &Orders) -> Result<(), IssueError> {
    match acquire(&before.state, &before.config.name).await? {
        Some(_lease) => before.issuer.clean_up(&before.config.name).await,
        None => Ok(()),
    }
}

/// An order of a certificate that nobody orders any more: no later order would tidy up after it.
pub(crate) struct Leftover {
    certificate: String,
    state: State,
    /// The issuers that may be able to remove its records; the first that can does.
    issuers: Vec<Arc<dyn Issuer>>,
}

impl Leftover {
    /// The possible remains of these orders.
    pub(crate) fn of(orders: &Orders) -> Self {
        Self {
            certificate: orders.config.name.clone(),
            state: orders.state.clone(),
            issuers: vec![Arc::clone(&orders.issuer)],
        }
    }

    /// The notes on disk of certificates that are not ordered any more. A note does not say which DNS provider has the
    /// records, for a command must not come from there: the configured ones are asked.
    pub(crate) async fn find(
        ordering: &Ordering,
        sources: &[AcmeSource],
        is_ordered: impl Fn(&str) -> bool,
        reporter: &Reporter,
    ) -> Vec<Self> {
        let state = &ordering.state;
        // Each order reports an error of the state.
        let names = state.store.names(ORDERS).await.unwrap_or_default();
        let issuers = issuers(ordering, sources);
        names
            .into_iter()
            .filter(|name| !is_ordered(name))
            .map(|certificate| {
                reporter.of_certificate(&certificate, EventKind::OrderGivenUp);
                Self {
                    certificate,
                    state: state.clone(),
                    issuers: issuers.clone(),
                }
            })
            .collect()
    }

    /// Removes records and note. An order whose lease another process has is left to it, and so is a certificate that
    /// is ordered again.
    async fn clear(&self, is_ordered: &impl Fn(&str) -> bool) -> Result<(), IssueError> {
        let Some(_lease) = acquire(&self.state, &self.certificate).await? else {
            return Ok(());
        };
        if is_ordered(&self.certificate) {
            return Ok(());
        }
        let mut failure = None;
        for issuer in &self.issuers {
            match issuer.clean_up(&self.certificate).await {
                Ok(()) => return issuer.done(&self.certificate).await,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Clears all of them. An order that cannot be cleared is tried a few times, and found again at the next start.
pub(crate) async fn clear(
    mut leftovers: Vec<Leftover>,
    is_ordered: impl Fn(&str) -> bool,
    reporter: Reporter,
) {
    for wait in ATTEMPTS {
        sleep(wait).await;
        let mut left = Vec::new();
        for leftover in leftovers {
            let certificate = &leftover.certificate;
            let error = match timeout(LONGEST_CLEARING, leftover.clear(&is_ordered)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("{error} ({})", error.remedy),
                Err(_) => format!(
                    "it could not be removed within {} min (see that the DNS provider or its command answers)",
                    LONGEST_CLEARING.as_secs() / 60
                ),
            };
            let is_ordered = false;
            reporter.of_certificate(certificate, EventKind::RemainsLeft { is_ordered, error });
            left.push(leftover);
        }
        leftovers = left;
        if leftovers.is_empty() {
            return;
        }
    }
}

/// The lease, once an ended task has released it. `None`: another process has it.
async fn acquire(state: &State, certificate: &str) -> Result<Option<Guard>, IssueError> {
    let acquired = state.lease.acquire_within(certificate, STATE_DEADLINE).await;
    acquired.map_err(|error| {
        let text = format!("nobody can be kept from ordering it meanwhile: {error}");
        IssueError::new(
            IssueFault::State,
            text,
            "let h2gate read and write in `state_dir`",
        )
    })
}

/// One issuer for each configured DNS provider. Route 53 comes first: it knows whether a record was there, and a
/// command may not. Without any, one that says which records are to be removed by hand.
fn issuers(ordering: &Ordering, sources: &[AcmeSource]) -> Vec<Arc<dyn Issuer>> {
    let mut with_dns: Vec<&AcmeSource> = Vec::new();
    for source in sources {
        let is_new = with_dns.iter().all(|known| known.challenge != source.challenge);
        if is_new && matches!(source.challenge, Challenge::Dns01(_)) {
            with_dns.push(source);
        }
    }
    with_dns.sort_by_key(|source| matches!(source.challenge, Challenge::Dns01(DnsProvider::Exec(_))));
    if with_dns.is_empty() {
        return vec![ordering.issuer(&AcmeSource::of(Vec::new()))];
    }
    with_dns
        .into_iter()
        .map(|source| ordering.issuer(source))
        .collect()
}
