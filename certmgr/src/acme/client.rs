//! The [`Issuer`] that talks to real CAs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certstore::Challenges;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::account::{self, AccountSession};
use super::claims::Claims;
use super::order::{OrderAttempt, OrderError, OrderFate, TRIED_AGAIN};
use super::pending_order::PendingOrder;
use super::renewal_queue::RenewalQueues;
use super::session::Session;
use super::{Issued, Issuer, OrderPermit, Registrar, Request, RevocationReason};
use crate::config::{AcmeSource, Ca, Challenge, DnsProvider};
use crate::dns::{self, Lookup, TxtRecords};
use crate::error::{IssueError, IssueFault};
use crate::event::{EventKind, Reporter};
use crate::lease::Lease;
use crate::schedule::RenewalInfo;
use crate::state::State;
use crate::store::{BoxFuture, Store, StoreError};

/// Time for one attempt, with all its waits but those for DNS records.
const MAX_ATTEMPT: Duration = Duration::from_secs(20 * 60);

/// Default of [`Client::max_wait`].
pub(super) const MAX_WAIT: Duration = Duration::from_secs(300);

/// Largest number of orders at once: more are never of use.
const MAX_ORDERS: usize = 1_024;

/// Time for which a change of the account key waits for the orders in progress with the old key.
const MAX_DRAIN_WAIT: Duration = Duration::from_secs(60);

/// State that the issuers of all certificates share. There is one in a process.
pub(crate) struct Shared {
    pub(super) lease: Arc<dyn Lease>,
    pub(super) store: Arc<dyn Store>,
    pub(super) challenges: Challenges,
    pub(super) reporter: Reporter,
    orders: Arc<Semaphore>,
    max_orders: u32,
    pub(super) claims: Arc<Claims>,
    renewal_queues: RenewalQueues,
    pub(super) registrar: Arc<dyn Registrar>,
    /// One lock for each account, locked while the account is registered or changed.
    accounts: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Shared {
    /// Makes the shared state. At most `max_orders` orders are in progress at once; the others wait for their
    /// [`OrderPermit`].
    pub(crate) fn new(
        state: State,
        challenges: Challenges,
        registrar: Arc<dyn Registrar>,
        max_orders: usize,
        reporter: Reporter,
    ) -> Arc<Self> {
        let max_orders = u32::try_from(max_orders.clamp(1, MAX_ORDERS)).unwrap_or(1);
        Arc::new(Self {
            lease: state.lease,
            store: state.store,
            reporter,
            challenges,
            orders: Arc::new(Semaphore::new(max_orders as usize)),
            max_orders,
            claims: Arc::default(),
            renewal_queues: RenewalQueues::default(),
            registrar,
            accounts: Mutex::default(),
        })
    }

    /// Waits until no order is in progress, and lets none begin until the permit is dropped. `None`: the wait takes
    /// longer than [`MAX_DRAIN_WAIT`].
    async fn wait_for_no_orders(&self) -> Option<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.orders).acquire_many_owned(self.max_orders);
        timeout(MAX_DRAIN_WAIT, all).await.ok()?.ok()
    }

    pub(super) fn account_lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(name.to_owned()).or_default())
    }
}

/// Orders certificates as one [`AcmeSource`] says: the [`Issuer`] for real CAs.
///
/// An attempt is stopped after [`max_attempt`]; its TXT records are removed then, too. There is a second attempt only
/// if the CA does not know the account, which is registered again in between. Apart from that, these alone are
/// repeated at the CA: requests whose nonce was refused, looks at an order in progress, and a refused replacement,
/// which is ordered without naming the old certificate. Every other error goes to the caller, with the remedy and the
/// time that the CA asks for.
///
/// Dropping a call is safe at each point, and costs at most one more order: keys, the URL of the order and TXT
/// records are on disk before they are used, published answers to challenges end with their guards, and a write to
/// the state directory that has begun goes on to its end.
pub(crate) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) source: AcmeSource,
    pub(super) txt: Option<Arc<dyn TxtRecords>>,
    /// Time for which the CA may validate the challenges, and again for which it may sign.
    pub(super) max_wait: Duration,
}

impl Client {
    /// Makes the client. Nothing is read, written or sent yet.
    pub(crate) fn new(source: &AcmeSource, shared: &Arc<Shared>) -> Self {
        let txt = match &source.challenge {
            Challenge::Dns01(provider) => Some(dns::provider(provider, shared.reporter.clone())),
            Challenge::TlsAlpn01 | Challenge::Http01 => None,
        };
        Self {
            shared: Arc::clone(shared),
            source: source.clone(),
            txt,
            max_wait: MAX_WAIT,
        }
    }

    pub(super) fn report(&self, certificate: &str, kind: EventKind) {
        self.shared.reporter.of_certificate(certificate, kind);
    }

    /// Makes a resolver for each use: the name servers of the system may have changed, or be known only now.
    pub(super) fn lookup(&self) -> Lookup {
        Lookup::new(&self.source.resolvers)
    }

    fn ca(&self, position: usize) -> Result<&Ca, IssueError> {
        self.source.cas.get(position).ok_or_else(|| {
            let text = format!("there is no CA {position}");
            IssueError::new(IssueFault::Configuration, text, "correct the configuration")
        })
    }

    async fn session(&self, position: usize) -> Result<Session, IssueError> {
        let ca = self.ca(position)?;
        let opened = Session::open(ca).await;
        opened.map_err(|error| error.into_error(ca, "read the CA's directory"))
    }

    async fn account(&self, ca: usize) -> Result<AccountSession, IssueError> {
        account::open(self.session(ca).await?, &self.shared, None).await
    }

    /// Registers an account again, after the CA has said that it does not know it.
    async fn register_again(&self, account: AccountSession) -> Result<AccountSession, IssueError> {
        account::open(account.session, &self.shared, Some(&account.url)).await
    }

    async fn attempt(&self, account: &AccountSession, request: &Request) -> Result<Issued, OrderError> {
        let max_attempt = max_attempt(&self.source.challenge, request.domains.len());
        let attempt = OrderAttempt {
            client: self,
            account,
            request,
        };
        let ended = match timeout(max_attempt, attempt.run()).await {
            Ok(ended) => ended,
            Err(_) => {
                if let Err(error) = self.clean_up(&request.certificate).await {
                    self.report(&request.certificate, EventKind::RecordsLeft { error });
                }
                let text = format!("the order took more than {} s", max_attempt.as_secs());
                Err(IssueError::new(IssueFault::Unreachable, text, TRIED_AGAIN).into())
            }
        };
        ended.map_err(|OrderError { error, fate }| fate.after(error.at(&account.session.ca)))
    }

    pub(super) async fn note(&self, certificate: &str) -> Result<Option<PendingOrder>, StoreError> {
        PendingOrder::read(&self.shared, certificate).await
    }

    /// Removes the note of an order. A note with TXT records that could not be removed stays, without its order; the
    /// returned value is the error of the DNS.
    pub(super) async fn forget(
        &self,
        certificate: &str,
        note: &mut PendingOrder,
    ) -> Result<Option<IssueError>, IssueError> {
        let left = self.remove_records(certificate, note).await.err();
        let shared = &self.shared;
        if note.records.is_empty() {
            PendingOrder::remove(shared, certificate).await?;
        } else {
            note.order = None;
            note.write(shared, certificate).await?;
        }
        Ok(left)
    }
}

/// Time for one attempt for so many names. The time that the operator grants to DNS records is added.
pub(crate) fn max_attempt(challenge: &Challenge, names: usize) -> Duration {
    let records = u32::try_from(names).unwrap_or(u32::MAX);
    let for_records = match challenge {
        Challenge::TlsAlpn01 | Challenge::Http01 => Duration::ZERO,
        Challenge::Dns01(DnsProvider::Route53(route53)) => route53.propagation_timeout,
        // Each record is written by a call of its own, and removed by another.
        Challenge::Dns01(DnsProvider::Exec(hook)) => hook
            .timeout
            .saturating_mul(records.saturating_mul(2))
            .saturating_add(hook.propagation),
    };
    MAX_ATTEMPT.saturating_add(for_records)
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        let remedy = "make room on the disk of `state_dir`, and let h2gate write to it";
        Self::new(IssueFault::State, error.to_string(), remedy)
    }
}

impl Issuer for Client {
    fn order_permit(&self) -> BoxFuture<'_, OrderPermit> {
        Box::pin(async move {
            let permit = Arc::clone(&self.shared.orders).acquire_owned().await;
            OrderPermit { _permit: permit.ok() }
        })
    }

    fn issue<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>> {
        Box::pin(async move {
            let mut account = self.account(request.ca).await?;
            let mut issued = self.attempt(&account, request).await;
            if matches!(&issued, Err(error) if error.fate == OrderFate::UnknownAccount) {
                account = self.register_again(account).await?;
                issued = self.attempt(&account, request).await;
            }
            issued.map_err(|error| error.error)
        })
    }

    fn done<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            match self.note(certificate).await? {
                Some(mut note) => self.forget(certificate, &mut note).await?.map_or(Ok(()), Err),
                None => Ok(()),
            }
        })
    }

    fn clean_up<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            match self.note(certificate).await? {
                Some(mut note) => self.remove_records(certificate, &mut note).await,
                None => Ok(()),
            }
        })
    }

    fn renewal_info<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>> {
        Box::pin(async move { self.shared.renewal_queues.ask(self.ca(ca)?, leaf).await })
    }

    fn probe(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async move { self.session(ca).await.map(drop) })
    }

    fn check_names<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async move {
            let session = self.session(request.ca).await?;
            Ok(self.findings(&session, None, request).await.is_empty())
        })
    }

    fn revoke<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
        reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            let mut account = self.account(ca).await?;
            let mut revoked = account.revoke(leaf, reason).await;
            if matches!(&revoked, Err(error) if error.is("accountDoesNotExist")) {
                account = self.register_again(account).await?;
                revoked = account.revoke(leaf, reason).await;
            }
            revoked.map_err(|error| error.into_error(&account.session.ca, "revoke the certificate"))
        })
    }

    fn has_unfinished<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async move {
            let ca = self.ca(request.ca)?;
            let note = self.note(&request.certificate).await?;
            Ok(note.is_some_and(|note| note.order.is_some() && note.is_at(ca, request)))
        })
    }

    fn roll_account_key(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async move {
            let at = self.ca(ca)?;
            // An order in progress is signed with the old key, which the CA does not know afterwards.
            let _all_permits = self.shared.wait_for_no_orders().await.ok_or_else(|| {
                let text = format!("orders are still under way after {} s", MAX_DRAIN_WAIT.as_secs());
                IssueError::new(IssueFault::State, text, "try again when they have ended").at(at)
            })?;
            account::roll_key(self.session(ca).await?, &self.shared).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExecHook;

    #[test]
    fn an_attempt_is_not_cut_short_by_the_waits_that_dns_records_are_granted() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(max_attempt(&Challenge::Http01, 2), MAX_ATTEMPT);
        let hook = ExecHook {
            command: vec!["/bin/true".to_owned()],
            timeout: minute,
            propagation: hour,
        };
        let by_hook = max_attempt(&Challenge::Dns01(DnsProvider::Exec(hook)), 2);
        assert_eq!(by_hook, MAX_ATTEMPT + hour + 4 * minute);
    }
}
