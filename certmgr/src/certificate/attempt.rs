//! One go at the CAs for one certificate: lease → look again → note → issue. It owns all it needs, so the
//! certificate's task can do what operators ask for meanwhile; dropped at any point, it can be gone on with.

use std::sync::Arc;

use certstore::Generation;
use tokio::time::Instant;

use super::keeping::load;
use super::kept::Kept;
use super::ordered::Orders;
use crate::acme::{IssueError, IssueFault, Issued, Request};
use crate::lease::Guard;
use crate::ledger::{Attempt, NotNow, Order, OrderKind, Wait};
use crate::store::{Document, StoreError};

/// What is known before the go.
#[derive(Debug)]
pub(super) struct Before {
    /// DER of what serves, and the position of the CA that it came from.
    pub(super) replaces: Option<(usize, Vec<u8>)>,
    /// What is kept as far as this process knows.
    pub(super) generations: Vec<Generation>,
    /// The orders that these came from.
    pub(super) orders: Vec<String>,
}

/// How it ended.
pub(super) enum Outcome {
    /// A chain from a CA, not proved yet.
    Arrived(Box<Arrived>),
    /// Another process has renewed it meanwhile: this is what is kept now.
    Elsewhere(Kept),
    /// Another process is at it.
    Busy,
    /// The limits of every CA forbid it; this one ends first.
    Limited(Wait),
    /// No CA gave one.
    Failed(IssueError),
}

/// A chain from a CA, and the right to act on it.
pub(super) struct Arrived {
    pub(super) issued: Issued,
    /// Position of the CA.
    pub(super) authority: usize,
    /// `None` once its outcome is noted.
    pub(super) attempt: Option<Attempt>,
    /// When the go began.
    pub(super) began: Instant,
    /// Kept until the chain is dealt with, so that no other process orders meanwhile.
    pub(super) _lease: Guard,
}

pub(super) async fn run(orders: Arc<Orders>, before: Before) -> Outcome {
    let began = Instant::now();
    let name = orders.config.name.as_str();
    let lease = match orders.state.lease.try_acquire(name).await {
        Ok(Some(lease)) => lease,
        Ok(None) => return Outcome::Busy,
        Err(error) => return Outcome::Failed(state_fault(&error)),
    };
    let document = Document::Certificate(name.to_owned());
    // What is broken there is told of at the start, and does not keep from ordering.
    if let Ok(Some((kept, _))) = load(Arc::clone(&orders.state.store), &document).await
        && let Some(newest) = kept.versions.first()
        && !before.generations.contains(&newest.generation())
    {
        return Outcome::Elsewhere(kept);
    }
    let (mut failure, mut shortest) = (None::<IssueError>, None::<Wait>);
    for authority in 0..orders.source.authorities.len() {
        match ask(&orders, authority, &before).await {
            Ok((issued, attempt)) => {
                return Outcome::Arrived(Box::new(Arrived {
                    issued,
                    authority,
                    attempt: Some(attempt),
                    began,
                    _lease: lease,
                }));
            }
            Err(Refused::Wait(wait)) => {
                if shortest.as_ref().is_none_or(|shortest| wait.wait < shortest.wait) {
                    shortest = Some(wait);
                }
            }
            Err(Refused::Store(error)) => return Outcome::Failed(state_fault(&error)),
            Err(Refused::Issue(error)) => match &mut failure {
                Some(first) => {
                    first.text = format!("{}; {}: {}", first.text, error.authority, error.text);
                }
                None => failure = Some(error),
            },
        }
    }
    match (failure, shortest) {
        (Some(failure), _) => Outcome::Failed(failure),
        (None, Some(wait)) => Outcome::Limited(wait),
        (None, None) => Outcome::Failed(IssueError {
            class: IssueFault::Configuration,
            authority: String::new(),
            text: "no CA is configured".to_owned(),
            remedy: "name one".to_owned(),
            retry_after: None,
        }),
    }
}

enum Refused {
    Wait(Wait),
    Store(StoreError),
    Issue(IssueError),
}

/// Asks one CA, once the ledger has given leave and has noted it.
async fn ask(orders: &Orders, authority: usize, before: &Before) -> Result<(Issued, Attempt), Refused> {
    let (config, source) = (&orders.config, &orders.source);
    let Some(asked) = source.authorities.get(authority) else {
        return Err(Refused::Store(StoreError {
            place: config.name.clone(),
            text: "no such authority".to_owned(),
        }));
    };
    let replaces = before
        .replaces
        .as_ref()
        .filter(|(from, _)| *from == authority)
        .map(|(_, leaf)| leaf.clone());
    let unfinished = orders
        .issuer
        .has_unfinished(&config.name)
        .await
        .map_err(Refused::Issue)?;
    let kind = match (unfinished, &replaces) {
        (true, _) => OrderKind::Resumed,
        (false, Some(_)) => OrderKind::Replacing,
        (false, None) => OrderKind::New,
    };
    let order = Order {
        domains: &config.domains,
        key: source.key,
        authority: asked,
        kind,
    };
    let attempt = orders
        .ledger
        .intend(order)
        .await
        .map_err(|refused| match refused {
            NotNow::Wait(wait) => Refused::Wait(wait),
            NotNow::Store(error) => Refused::Store(error),
        })?;
    let request = Request {
        certificate: config.name.clone(),
        domains: config.domains.clone(),
        key: source.key,
        authority,
        replaces,
    };
    let mut issued = orders.issuer.issue(&request).await;
    if let Ok(finished) = &issued
        && before.orders.contains(&finished.order)
    {
        // A crash has left the note of an order whose certificate is kept: it is not the one that is wanted.
        issued = match orders.issuer.done(&config.name).await {
            Ok(()) => orders.issuer.issue(&request).await,
            Err(error) => Err(error),
        };
    }
    match issued {
        Ok(issued) => Ok((issued, attempt)),
        Err(error) => {
            if let Err(unwritten) = orders.ledger.failed(attempt, &error).await {
                tracing::warn!(certificate = config.name, "the ledger of orders: {unwritten}");
            }
            Err(Refused::Issue(error))
        }
    }
}

/// Nothing may be ordered whose key could be lost.
pub(super) fn state_fault(error: &StoreError) -> IssueError {
    IssueError {
        class: IssueFault::State,
        authority: String::new(),
        text: format!("nothing is ordered, for its key could not be kept: {error}"),
        remedy: "free space in `state_dir`, or let h2gate write there".to_owned(),
        retry_after: None,
    }
}
