//! The issuer that talks to real CAs.

use std::sync::Arc;

use certstore::Challenges;
use tokio::sync::Semaphore;

use super::{IssueError, IssueFault, Issued, Issuer, RenewalInfo, Request, RevocationReason};
use crate::config::AcmeSource;
use crate::dns::{self, Lookup, TxtRecords};
use crate::state::State;
use crate::store::BoxFuture;

/// What the issuers of all certificates have in common. One in a process.
pub(crate) struct Shared {
    state: State,
    challenges: Challenges,
    orders: Semaphore,
}

impl Shared {
    /// At most `max_orders` orders are under way at once; the others wait their turn.
    pub(crate) fn new(state: State, challenges: Challenges, max_orders: usize) -> Arc<Self> {
        Arc::new(Self {
            state,
            challenges,
            orders: Semaphore::new(max_orders.max(1)),
        })
    }
}

/// Orders certificates as one [`AcmeSource`] says.
pub(crate) struct Client {
    shared: Arc<Shared>,
    source: AcmeSource,
    lookup: Lookup,
    txt: Option<Arc<dyn TxtRecords>>,
}

impl Client {
    /// Touches nothing yet.
    pub(crate) fn new(source: &AcmeSource, shared: &Arc<Shared>) -> Self {
        let txt = match &source.challenge {
            crate::config::Challenge::Dns01(provider) => Some(dns::provider(provider)),
            _ => None,
        };
        Self {
            shared: Arc::clone(shared),
            source: source.clone(),
            lookup: Lookup::new(&source.resolvers),
            txt,
        }
    }

    fn not_yet(&self) -> IssueError {
        let _ = (
            &self.shared.state,
            &self.shared.challenges,
            &self.shared.orders,
            &self.lookup,
            &self.txt,
        );
        IssueError {
            class: IssueFault::Configuration,
            authority: self
                .source
                .authorities
                .first()
                .map(|first| first.name.clone())
                .unwrap_or_default(),
            text: "cannot order yet".to_owned(),
            remedy: "wait".to_owned(),
            retry_after: None,
        }
    }
}

impl Issuer for Client {
    fn issue<'a>(&'a self, _request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn done<'a>(&'a self, _certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn clean_up<'a>(&'a self, _certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn renewal_info<'a>(
        &'a self,
        _authority: usize,
        _leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn probe(&self, _authority: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn revoke<'a>(
        &'a self,
        _authority: usize,
        _leaf: &'a [u8],
        _reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn has_unfinished<'a>(&'a self, _certificate: &'a str) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }

    fn roll_account_key(&self, _authority: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async { Err(self.not_yet()) })
    }
}
