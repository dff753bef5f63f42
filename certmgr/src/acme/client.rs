//! The [`Issuer`] that talks to real CAs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certstore::Challenges;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::warn;

use super::account::{self, AccountSession};
use super::claims::Claims;
use super::kept::Shelf;
use super::note::Note;
use super::order::{self, OrderError};
use super::problem::AcmeError;
use super::renewal_queue::RenewalQueues;
use super::session::Session;
use super::{Issued, Issuer, Registrar, Request, RevocationReason, OrderPermit, authorization, kept, renewal};
use crate::config::{AcmeSource, Ca, Challenge, DnsProvider};
use crate::dns::{self, Lookup, TxtRecords};
use crate::error::{IssueError, IssueFault};
use crate::lease::Lease;
use crate::schedule::RenewalInfo;
use crate::state::State;
use crate::store::BoxFuture;

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
    pub(super) shelf: Shelf,
    pub(super) challenges: Challenges,
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
    ) -> Arc<Self> {
        let max_orders = u32::try_from(max_orders.clamp(1, MAX_ORDERS)).unwrap_or(1);
        Arc::new(Self {
            lease: state.lease,
            shelf: Shelf::new(state.store),
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
    async fn no_orders(&self) -> Option<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.orders).acquire_many_owned(self.max_orders);
        timeout(MAX_DRAIN_WAIT, all).await.ok()?.ok()
    }

    pub(super) fn account_lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(name.to_owned()).or_default())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
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
            Challenge::Dns01(provider) => Some(dns::provider(provider)),
            Challenge::TlsAlpn01 | Challenge::Http01 => None,
        };
        Self {
            shared: Arc::clone(shared),
            source: source.clone(),
            txt,
            max_wait: MAX_WAIT,
        }
    }

    /// Makes a resolver for each use: the name servers of the system may have changed, or be known only now.
    pub(super) fn lookup(&self) -> Lookup {
        Lookup::new(&self.source.resolvers)
    }

    fn max_attempt(&self, request: &Request) -> Duration {
        max_attempt(&self.source.challenge, request.domains.len())
    }

    fn ca(&self, position: usize) -> Result<&Ca, IssueError> {
        self.source.cas.get(position).ok_or_else(|| IssueError {
            class: IssueFault::Configuration,
            ca: String::new(),
            text: format!("there is no CA {position}"),
            remedy: "correct the configuration".to_owned(),
            retry_after: None,
        })
    }

    async fn session(&self, position: usize) -> Result<Session, IssueError> {
        let ca = self.ca(position)?;
        Session::open(ca)
            .await
            .map_err(|error| error.into_error(ca, "read the CA's directory"))
    }

    async fn account(&self, position: usize) -> Result<AccountSession, IssueError> {
        account::open(self.session(position).await?, &self.shared).await
    }

    async fn order(&self, request: &Request) -> Result<Issued, IssueError> {
        let account = self.account(request.ca).await?;
        let account = match self.attempt(&account, request).await {
            Err(OrderError::NoAccount(_)) => self.anew(account).await?,
            ended => return ended.map_err(OrderError::into_error),
        };
        self.attempt(&account, request).await.map_err(OrderError::into_error)
    }

    async fn attempt(&self, account: &AccountSession, request: &Request) -> Result<Issued, OrderError> {
        let max_attempt = self.max_attempt(request);
        match timeout(max_attempt, order::run(self, account, request)).await {
            Ok(ended) => ended,
            Err(_) => {
                if let Err(error) = self.take_back(&request.certificate).await {
                    warn!(certificate = request.certificate, remedy = %error.remedy, "TXT records are not removed yet: {error}");
                }
                Err(OrderError::Error(account.error(
                    IssueFault::Unreachable,
                    &format!("the order took more than {} s", max_attempt.as_secs()),
                )))
            }
        }
    }

    async fn note(&self, certificate: &str) -> Result<Option<Note>, IssueError> {
        Note::read(&self.shared.shelf, certificate)
            .await
            .map_err(|error| kept::trouble(&error, None))
    }

    async fn take_back(&self, certificate: &str) -> Result<(), IssueError> {
        match self.note(certificate).await? {
            Some(mut note) => authorization::take_back(self, certificate, &mut note).await,
            None => Ok(()),
        }
    }

    /// Removes the note of an order. A note with TXT records that could not be removed stays, without its order; the
    /// returned value is the error of the DNS.
    pub(super) async fn forget(
        &self,
        certificate: &str,
        note: &mut Note,
    ) -> Result<Option<IssueError>, IssueError> {
        let left = authorization::take_back(self, certificate, note).await.err();
        let shelf = &self.shared.shelf;
        let kept = if note.records.is_empty() {
            Note::remove(shelf, certificate).await
        } else {
            note.order = None;
            note.write(shelf, certificate).await
        };
        kept.map_err(|error| kept::trouble(&error, None))?;
        Ok(left)
    }

    async fn revoke_one(
        &self,
        position: usize,
        leaf: &[u8],
        reason: RevocationReason,
    ) -> Result<(), IssueError> {
        let account = self.account(position).await?;
        let account = match revoke_as(&account, leaf, reason).await {
            Err(OrderError::NoAccount(_)) => self.anew(account).await?,
            ended => return ended.map_err(OrderError::into_error),
        };
        revoke_as(&account, leaf, reason).await.map_err(OrderError::into_error)
    }

    /// Changes the account key while no order is in progress: such an order is signed with the old key, which the CA
    /// does not know afterwards.
    async fn roll(&self, position: usize) -> Result<(), IssueError> {
        let ca = self.ca(position)?;
        let _quiet = self.shared.no_orders().await.ok_or_else(|| IssueError {
            class: IssueFault::State,
            ca: ca.name.clone(),
            text: format!("orders are still under way after {} s", MAX_DRAIN_WAIT.as_secs()),
            remedy: "try again when they have ended".to_owned(),
            retry_after: None,
        })?;
        account::roll_key(self.session(position).await?, &self.shared).await
    }

    /// Registers the account again, after the CA has said that it does not know it.
    async fn anew(&self, account: AccountSession) -> Result<AccountSession, IssueError> {
        account::open_anew(account.session, &self.shared, &account.url).await
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

async fn revoke_as(account: &AccountSession, leaf: &[u8], reason: RevocationReason) -> Result<(), OrderError> {
    match account.revoke(leaf, reason).await {
        Ok(()) => Ok(()),
        Err(error) if error.is("alreadyRevoked") => Ok(()),
        Err(error) => Err(OrderError::of(account, error, "revoke the certificate")),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl OrderError {
    fn into_error(self) -> IssueError {
        match self {
            Self::Error(error) | Self::Stuck(error) | Self::Dead(error) | Self::NoAccount(error) => error,
        }
    }
}

impl Issuer for Client {
    fn order_permit(&self) -> BoxFuture<'_, OrderPermit> {
        Box::pin(async move {
            let permit = Arc::clone(&self.shared.orders).acquire_owned().await;
            permit.map(OrderPermit::new).unwrap_or_default()
        })
    }

    fn issue<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>> {
        Box::pin(self.order(request))
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
        Box::pin(self.take_back(certificate))
    }

    fn renewal_info<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>> {
        Box::pin(async move {
            let ca = self.ca(ca)?;
            let failed = |error: AcmeError| error.into_error(ca, "ask when to renew");
            let asked = self.shared.renewal_queues.slot(ca).await?;
            match renewal::info(&asked.session, leaf).await {
                Ok(info) => Ok(info),
                Err(error) => {
                    let error = failed(error);
                    asked.failed(error.limit()).await;
                    Err(error)
                }
            }
        })
    }

    fn probe(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async move { self.session(ca).await.map(drop) })
    }

    fn check_names<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async move {
            let session = self.session(request.ca).await?;
            Ok(order::findings(self, &session, None, request).await.is_empty())
        })
    }

    fn revoke<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
        reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(self.revoke_one(ca, leaf, reason))
    }

    fn has_unfinished<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async move {
            let ca = self.ca(request.ca)?;
            let note = self.note(&request.certificate).await?;
            Ok(note.is_some_and(|note| note.order.is_some() && note.is_at(ca, request)))
        })
    }

    fn roll_account_key(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(self.roll(ca))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::tests::request;
    use crate::config::{ExecHook, KeyType};
    use crate::ledger::Ledger;

    #[test]
    fn an_attempt_is_not_cut_short_by_the_waits_that_dns_records_are_granted() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        let shared = Shared::new(
            state.clone(),
            Challenges::default(),
            Arc::new(Ledger::new(state, Arc::new(certstore::UnixTime::now))),
            1,
        );
        let max_attempt = |challenge: Challenge| {
            let source = AcmeSource {
                cas: Vec::new(),
                challenge,
                key: KeyType::EcdsaP256,
                preferred_chain: None,
                resolvers: Vec::new(),
                min_interval: Duration::from_secs(3_600),
                first_retry: Duration::from_secs(60),
            };
            let asked = request("a", &["a.example.com", "*.a.example.com"]);
            Client::new(&source, &shared).max_attempt(&asked)
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(max_attempt(Challenge::Http01), MAX_ATTEMPT);
        let hook = ExecHook {
            command: vec!["/bin/true".to_owned()],
            timeout: minute,
            propagation: hour,
        };
        let by_hook = max_attempt(Challenge::Dns01(DnsProvider::Exec(hook)));
        assert_eq!(by_hook, MAX_ATTEMPT + hour + 4 * minute);
    }
}
