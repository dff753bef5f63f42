//! Stand-ins: a store that fails or stops at a chosen step, a CA that issues by itself, a clock that runs with
//! the timers of the test.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Mutex, MutexGuard};

use certstore::Name;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::*;
use crate::acme::{Issued, Issuer, OrderPermit, Request, RevocationReason};
use crate::config::{AcmeSource, Ca, Challenge, KeyType, Source};
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};
use crate::lease::{Guard, Lease, Standby};
use crate::pair::Pair;
use crate::schedule::RenewalInfo;
use crate::state::State;
use crate::store::{BoxFuture, Document, Held, REVOCATIONS, Stamp, Store, StoreError};

/// Stops the task that comes to a certain step, in the way of a crash: nothing after it happens.
#[derive(Debug, Default)]
pub(super) struct Crash {
    /// Steps left; below zero there is no crash.
    left: AtomicI64,
    armed: AtomicBool,
    happened: watch::Sender<Option<&'static str>>,
    over: watch::Sender<bool>,
}

impl Crash {
    pub(super) fn at(step: i64) -> Arc<Self> {
        let crash = Self::never();
        crash.arm(step);
        crash
    }

    /// Sets the crash to so many steps from now.
    pub(super) fn arm(&self, step: i64) {
        self.left.store(step, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(super) fn never() -> Arc<Self> {
        Arc::default()
    }

    /// Counts a step. An error once the crash is over: nothing is left of the process's work, no lock either.
    async fn step(&self, name: &'static str) -> Result<(), StoreError> {
        if self.armed.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.happened.send_replace(Some(name));
            let mut over = self.over.subscribe();
            let _ = over.wait_for(|over| *over).await;
            return Err(StoreError::new("state", "the process has ended"));
        }
        Ok(())
    }

    /// True once the tasks have been dropped.
    pub(super) fn is_over(&self) {
        self.over.send_replace(true);
    }

    pub(super) fn has_happened(&self) -> bool {
        self.happened.borrow().is_some()
    }

    pub(super) async fn happened(&self) -> &'static str {
        let mut happened = self.happened.subscribe();
        let name = *happened.wait_for(Option::is_some).await.unwrap();
        name.unwrap()
    }
}

/// A store in front of a real one.
#[derive(Debug)]
pub(super) struct TestStore {
    inner: Arc<dyn Store>,
    pub(super) fails: AtomicBool,
    /// Documents with keys of certificates cannot be written.
    pub(super) unwritable: AtomicBool,
    /// Documents with keys of certificates cannot be read.
    pub(super) unreadable: AtomicBool,
    /// The list of wishes to revoke cannot be read.
    pub(super) is_blind: AtomicBool,
    crash: Arc<Crash>,
}

impl TestStore {
    /// A state in this directory with such a store.
    pub(super) fn open(directory: &Path, crash: &Arc<Crash>) -> (State, Arc<Self>) {
        let state = State::open(directory).unwrap();
        let store = Arc::new(Self {
            inner: Arc::clone(&state.store),
            fails: AtomicBool::new(false),
            unwritable: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            is_blind: AtomicBool::new(false),
            crash: Arc::clone(crash),
        });
        let with_double = State {
            store: Arc::clone(&store) as Arc<dyn Store>,
            ..state
        };
        (with_double, store)
    }

    fn refusal(&self, document: &Document) -> Result<(), StoreError> {
        let is_unwritable =
            self.unwritable.load(Ordering::SeqCst) && matches!(document, Document::Certificate(_));
        match is_unwritable || self.fails.load(Ordering::SeqCst) {
            true => Err(StoreError::new("state", "No space left on device")),
            false => Ok(()),
        }
    }
}

impl Store for TestStore {
    fn read<'a>(
        &'a self,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        Box::pin(async move {
            if self.unreadable.load(Ordering::SeqCst) && matches!(document, Document::Certificate(_)) {
                return Err(StoreError::new(
                    "state/certificates/api.json",
                    "Input/output error",
                ));
            }
            self.inner.read(document).await
        })
    }

    fn stamp<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        self.inner.stamp(document)
    }

    fn names(&self, folder: &'static str) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        match self.is_blind.load(Ordering::SeqCst) && folder == REVOCATIONS {
            true => Box::pin(async { Err(StoreError::new("state/revocations", "Too many open files")) }),
            false => self.inner.names(folder),
        }
    }

    fn write_holding<'a>(
        &'a self,
        document: &'a Document,
        bytes: &'a [u8],
        held: Held,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.refusal(document)?;
            self.crash.step("before a write").await?;
            self.inner.write_holding(document, bytes, held).await?;
            self.crash.step("after a write").await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.refusal(document)?;
            self.crash.step("before a removal").await?;
            self.inner.remove(document).await?;
            self.crash.step("after a removal").await?;
            Ok(())
        })
    }
}

/// Leases that are granted or not.
#[derive(Debug)]
pub(super) struct TestLease {
    inner: Arc<dyn Lease>,
    pub(super) fails: AtomicBool,
    /// Nothing is left to open a file with.
    pub(super) gives_no_shares: AtomicBool,
}

impl TestLease {
    /// A state in this directory with such leases. None is granted yet.
    pub(super) fn open(directory: &Path) -> (State, Arc<Self>) {
        let state = State::open(directory).unwrap();
        let lease = Arc::new(Self {
            inner: Arc::clone(&state.lease),
            fails: AtomicBool::new(true),
            gives_no_shares: AtomicBool::new(false),
        });
        let with_double = State {
            lease: Arc::clone(&lease) as Arc<dyn Lease>,
            ..state
        };
        (with_double, lease)
    }
}

impl Lease for TestLease {
    fn try_acquire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        match self.fails.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(StoreError::new("state/locks", "Input/output error")) }),
            false => self.inner.try_acquire(name),
        }
    }

    fn try_share<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        match self.fails.load(Ordering::SeqCst) || self.gives_no_shares.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(StoreError::new("state/locks", "Input/output error")) }),
            false => self.inner.try_share(name),
        }
    }

    fn stand_by<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Standby>, StoreError>> {
        match self.fails.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(StoreError::new("state/locks", "Input/output error")) }),
            false => self.inner.stand_by(name),
        }
    }
}

/// A wall clock that runs with tokio's, and can be set.
#[derive(Debug, Clone)]
pub(super) struct RunningClock {
    began: Instant,
    set: Arc<AtomicI64>,
}

impl RunningClock {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            set: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        (NOW_SECONDS + self.began.elapsed().as_secs()).saturating_add_signed(self.set.load(Ordering::SeqCst))
    }

    pub(super) fn set_by_days(&self, days: i64) {
        self.set.fetch_add(days * 86_400, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || UnixTime::since_unix_epoch(Duration::from_secs(clock.now())))
    }
}

/// Outcome of the next orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CaAnswer {
    Issue,
    /// Issues a certificate that is valid only after so many seconds.
    IssueFor(u64),
    /// Issues one that is dated back by so many seconds.
    IssueBackdated(u64),
    /// Issues for other names than the wanted ones.
    IssueElsewhere,
    /// Refuses until so many seconds have passed.
    ComeBackAfter(u64),
    /// Another server answers in the CA's place, and says to come back after so many seconds.
    PageFor(u64),
    Fail(IssueFault),
}

/// More turns than any test needs at once.
pub(super) const TURNS: u32 = 1_000;

/// A CA with its own memory and its own, true, clock; several issuers may talk to it.
pub(super) struct AcmeDouble {
    ca: TestCa,
    clock: RunningClock,
    pub(super) days: AtomicU64,
    crash: Mutex<Arc<Crash>>,
    answer: Mutex<CaAnswer>,
    orders: Mutex<HashMap<String, TestPair>>,
    pub(super) placed: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) revoked: Mutex<Vec<Vec<u8>>>,
    /// The error for wishes to revoke, instead of doing so.
    pub(super) revokes_not: Mutex<Option<IssueError>>,
    /// A call to revoke panics, once.
    pub(super) revokes_with_a_bug: AtomicBool,
    /// Number of calls to revoke.
    pub(super) revocations: AtomicU64,
    /// TXT records by certificate and by the issuer that wrote them.
    pub(super) records: Mutex<BTreeSet<(String, String)>>,
    /// No DNS provider answers.
    pub(super) dns_down: AtomicBool,
    /// Certificates whose remains of orders were removed.
    pub(super) cleaned_up: Mutex<Vec<String>>,
    pub(super) window: Mutex<Option<(u64, u64)>>,
    pub(super) questions: AtomicU64,
    /// The check of the names finds an obstacle.
    pub(super) names_bad: AtomicBool,
    /// Positions of CAs that cannot be reached.
    pub(super) down: Mutex<Vec<usize>>,
    /// Number of orders that may be in progress at once.
    pub(super) turns: Arc<Semaphore>,
    /// The CAs that have issued.
    pub(super) asked: Mutex<Vec<usize>>,
}

impl AcmeDouble {
    pub(super) fn new(clock: &RunningClock) -> Arc<Self> {
        Arc::new(Self {
            ca: TestCa::new(),
            // Setting our clock does not set the CA's.
            clock: RunningClock {
                set: Arc::default(),
                ..clock.clone()
            },
            days: AtomicU64::new(90),
            crash: Mutex::new(Crash::never()),
            answer: Mutex::new(CaAnswer::Issue),
            orders: Mutex::default(),
            placed: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            revoked: Mutex::default(),
            revokes_not: Mutex::default(),
            revokes_with_a_bug: AtomicBool::new(false),
            revocations: AtomicU64::new(0),
            records: Mutex::default(),
            dns_down: AtomicBool::new(false),
            cleaned_up: Mutex::default(),
            window: Mutex::default(),
            questions: AtomicU64::new(0),
            names_bad: AtomicBool::new(false),
            down: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS as usize)),
            asked: Mutex::default(),
        })
    }

    pub(super) fn answers(&self, answer: CaAnswer) {
        *lock(&self.answer) = answer;
    }

    pub(super) fn crashes_with(&self, crash: &Arc<Crash>) {
        *lock(&self.crash) = Arc::clone(crash);
    }

    /// The anchor that its certificates lead to.
    pub(super) fn anchor(&self) -> String {
        self.ca.0.pem()
    }

    pub(super) fn placed(&self) -> u64 {
        self.placed.load(Ordering::SeqCst)
    }

    /// Issuers for the tasks: each certificate has one of its own, on the given store.
    pub(super) fn issuers(self: &Arc<Self>, state: &State) -> Issuers {
        self.issuers_of(state, None)
    }

    /// Issuers of one process among several, which crashes for itself.
    pub(super) fn issuers_of(self: &Arc<Self>, state: &State, crash: Option<&Arc<Crash>>) -> Issuers {
        let (ca, store) = (Arc::clone(self), Arc::clone(&state.store));
        let crash = crash.cloned();
        Arc::new(move |source: &AcmeSource| {
            Arc::new(TestIssuer {
                provider: format!("{:?}", source.challenge),
                ca: Arc::clone(&ca),
                store: Arc::clone(&store),
                crash: crash.clone(),
            }) as Arc<dyn Issuer>
        })
    }

    fn sign(&self, names: &[Name], key: &KeyPair, answer: CaAnswer) -> TestPair {
        let at = |seconds: u64| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let from = match answer {
            CaAnswer::IssueFor(later) => self.clock.now() + later,
            CaAnswer::IssueBackdated(by) => self.clock.now() - by,
            _ => self.clock.now(),
        };
        let names = match answer {
            CaAnswer::IssueElsewhere => vec!["elsewhere.test".to_owned()],
            _ => names.iter().map(Name::to_string).collect(),
        };
        let days = self.days.load(Ordering::SeqCst);
        self.ca.issue(&names, at(from), at(from + days * 86_400), key)
    }
}

/// Keeps a note of its order in the way of the real issuer: first the key, then the URL.
struct TestIssuer {
    /// The writer of its TXT records.
    provider: String,
    ca: Arc<AcmeDouble>,
    store: Arc<dyn Store>,
    /// `None`: the crash of all processes.
    crash: Option<Arc<Crash>>,
}

impl TestIssuer {
    async fn step(&self, name: &'static str) {
        let crash = self.crash.clone();
        let crash = crash.unwrap_or_else(|| Arc::clone(&lock(&self.ca.crash)));
        if crash.step(name).await.is_err() {
            pending::<()>().await;
        }
    }

    async fn note(&self, request: &Request, url: &str, key: &KeyPair) -> Result<(), IssueError> {
        let note = format!("{url}\n{:?}\n{}", request.domains, key.serialize_pem());
        let document = Document::Order(request.certificate.clone());
        let written = self.store.write(&document, note.as_bytes()).await;
        written.map_err(|error| failure(IssueFault::State, &error.to_string()))
    }

    /// `None`: there is none, or it is for other names.
    async fn noted(&self, request: &Request) -> Option<(String, KeyPair)> {
        let document = Document::Order(request.certificate.clone());
        let bytes = self.store.read(&document).await.unwrap()?;
        let mut parts = std::str::from_utf8(&bytes).unwrap().splitn(3, '\n');
        let [url, names, key] = [(); 3].map(|()| parts.next().unwrap());
        let is_it = names == format!("{:?}", request.domains);
        is_it.then(|| (url.to_owned(), KeyPair::from_pem(key).unwrap()))
    }

    /// Places an order. From its note on, its record may be there; without a crash it is removed at the end.
    async fn place(&self, request: &Request) -> Result<Issued, IssueError> {
        let record = (request.certificate.clone(), self.provider.clone());
        let issued = self.place_with(request, &record).await;
        if !self.ca.dns_down.load(Ordering::SeqCst) {
            lock(&self.ca.records).remove(&record);
        }
        issued
    }

    async fn place_with(&self, request: &Request, record: &(String, String)) -> Result<Issued, IssueError> {
        let ca = &self.ca;
        let (mut url, key) = match self.noted(request).await {
            Some(noted) => noted,
            None => (String::new(), KeyPair::generate().unwrap()),
        };
        if url.is_empty() {
            self.note(request, "", &key).await?;
            self.step("before the order is placed").await;
            let number = ca.placed.fetch_add(1, Ordering::SeqCst);
            if request.replaces.is_some() {
                ca.replaced.fetch_add(1, Ordering::SeqCst);
            }
            url = format!("https://ca.test/order/{number}");
            self.step("after the order is placed").await;
            self.note(request, &url, &key).await?;
        }
        lock(&ca.records).insert(record.clone());
        self.step("before it is finalized").await;
        let answer = *lock(&ca.answer);
        if lock(&ca.down).contains(&request.ca) {
            return Err(failure(IssueFault::Unreachable, "connection refused"));
        }
        match answer {
            CaAnswer::Fail(class) => return Err(failure(class, "no")),
            CaAnswer::ComeBackAfter(seconds) => {
                return Err(IssueError {
                    retry_after: Some(RetryAfter::new(Duration::from_secs(seconds), SaidOf::Names)),
                    ..failure(IssueFault::RateLimited, "too many certificates")
                });
            }
            CaAnswer::PageFor(seconds) => {
                return Err(IssueError {
                    retry_after: Some(RetryAfter::new(Duration::from_secs(seconds), SaidOf::Outage)),
                    ..failure(IssueFault::Unreachable, "a page, with the status 503")
                });
            }
            _ => lock(&ca.asked).push(request.ca),
        }
        let pair = lock(&ca.orders)
            .entry(url.clone())
            .or_insert_with(|| ca.sign(&request.domains, &key, answer))
            .clone();
        self.step("after it is finalized").await;
        Ok(Issued {
            pair: Pair {
                chain: Zeroizing::new(pair.chain().into_bytes()),
                key: Zeroizing::new(key.serialize_pem().into_bytes()),
            },
            order: url,
        })
    }
}

impl Issuer for TestIssuer {
    fn order_permit(&self) -> BoxFuture<'_, OrderPermit> {
        let turns = Arc::clone(&self.ca.turns);
        Box::pin(async move {
            OrderPermit {
                _permit: turns.acquire_owned().await.ok(),
            }
        })
    }

    fn issue<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>> {
        Box::pin(self.place(request))
    }

    fn done<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            let document = Document::Order(certificate.to_owned());
            let removed = self.store.remove(&document).await;
            removed.map_err(|error| failure(IssueFault::State, &error.to_string()))?;
            match lock(&self.ca.records).iter().any(|(name, _)| name == certificate) {
                true => Err(failure(IssueFault::Dns, "the record is still there")),
                false => Ok(()),
            }
        })
    }

    fn clean_up<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>> {
        lock(&self.ca.cleaned_up).push(certificate.to_owned());
        let is_left = {
            let mut records = lock(&self.ca.records);
            if !self.ca.dns_down.load(Ordering::SeqCst) {
                records.remove(&(certificate.to_owned(), self.provider.clone()));
            }
            records.iter().any(|(name, _)| name == certificate)
        };
        Box::pin(async move {
            match is_left {
                true => Err(failure(IssueFault::Dns, "the record is still there")),
                false => Ok(()),
            }
        })
    }

    fn renewal_info<'a>(
        &'a self,
        _ca: usize,
        _leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>> {
        self.ca.questions.fetch_add(1, Ordering::SeqCst);
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let window = *lock(&self.ca.window);
        Box::pin(async move {
            Ok(window.map(|(from, until)| RenewalInfo {
                window: (at(from), at(until)),
                explanation: Some("https://ca.test/why".to_owned()),
                retry_after: None,
            }))
        })
    }

    fn probe(&self, position: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        let answer = *lock(&self.ca.answer);
        Box::pin(async move {
            match answer {
                CaAnswer::Fail(class) => Err(failure(class, "no")),
                _ if lock(&self.ca.down).contains(&position) => {
                    Err(failure(IssueFault::Unreachable, "connection refused"))
                }
                _ => Ok(()),
            }
        })
    }

    fn check_names<'a>(&'a self, _request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        let good = !self.ca.names_bad.load(Ordering::SeqCst);
        Box::pin(async move { Ok(good) })
    }

    fn revoke<'a>(
        &'a self,
        _ca: usize,
        leaf: &'a [u8],
        _reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>> {
        let ca = Arc::clone(&self.ca);
        let leaf = leaf.to_vec();
        Box::pin(async move {
            self.step("before it is revoked").await;
            ca.revocations.fetch_add(1, Ordering::SeqCst);
            assert!(!ca.revokes_with_a_bug.swap(false, Ordering::SeqCst), "a bug");
            if let Some(error) = lock(&ca.revokes_not).clone() {
                return Err(error);
            }
            lock(&ca.revoked).push(leaf);
            self.step("after it is revoked").await;
            Ok(())
        })
    }

    fn has_unfinished<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>> {
        Box::pin(async move { Ok(self.noted(request).await.is_some()) })
    }

    fn roll_account_key(&self, _ca: usize) -> BoxFuture<'_, Result<(), IssueError>> {
        Box::pin(async { Ok(()) })
    }
}

pub(super) fn failure(class: IssueFault, text: &str) -> IssueError {
    IssueError {
        class,
        ca: "test".to_owned(),
        text: text.to_owned(),
        remedy: "wait".to_owned(),
        retry_after: None,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// `api` for `a.test`, from the test's CA.
pub(super) fn acme_config() -> CertificateConfig {
    let ca = Ca {
        name: "test".to_owned(),
        directory: "https://ca.test/directory".to_owned(),
        ca_file: None,
        contact: Vec::new(),
        profile: None,
        external_account: None,
    };
    CertificateConfig {
        domains: vec![Name::parse("a.test").unwrap()],
        source: Source::Acme(Box::new(AcmeSource {
            cas: vec![ca],
            challenge: Challenge::TlsAlpn01,
            key: KeyType::EcdsaP256,
            preferred_chain: None,
            resolvers: Vec::new(),
            min_interval: Duration::from_secs(3600),
            first_retry: Duration::from_secs(60),
        })),
        ..CertificateConfig::from_files("api", "", "")
    }
}
