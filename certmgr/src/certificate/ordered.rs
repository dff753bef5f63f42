//! The story of a certificate that is renewed here: plan → order → prove → promote.
//!
//! What is due is decided by [`schedule::next`], asked again at least every minute, because the clock may be
//! set. An order is one [`attempt`]; what arrives goes through the same steps as a fetched pair.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use certstore::{CertBundle, Generation, ProveError, Serving, UnixTime};
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{self, Arrived, Before, Outcome, state_fault};
use super::kept::{Kept, Origin, Version};
use super::{Certificate, Found, STATE_DEADLINE, copy, hanging};
use crate::acme::{IssueError, IssueFault, Issuer};
use crate::config::{AcmeSource, CertificateConfig, Issuers, KeyType, Options, Random};
use crate::control::{self, NextStep};
use crate::error::{Error, Reason};
use crate::event::{self, Event};
use crate::ledger::{Ledger, Wait};
use crate::schedule::{self, Action, Advice, Draw, Known, Life, Probe, Record, Rules, Why};
use crate::state::State;
use crate::store::StoreError;

/// The schedule is asked again after this long, whatever it said: the clock may have been set.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Between two goes, whatever the schedule says.
const SHORTEST_REST: Duration = Duration::from_secs(1);

/// After a go that found another process at it.
const BUSY_REST: Duration = Duration::from_secs(10);

/// Between two attempts to revoke; doubled up to [`LONGEST_REVOCATION_REST`].
const REVOCATION_REST: Duration = Duration::from_secs(60);
const LONGEST_REVOCATION_REST: Duration = Duration::from_secs(3600);

/// A renewal that moves by less is not told again.
const TOLD_APART: u64 = 300;

/// What the orders of all certificates have in common. One in a process.
pub(crate) struct Ordering {
    state: State,
    ledger: Arc<Ledger>,
    issuers: Issuers,
    random: Random,
}

/// What the orders of one certificate need.
pub(crate) struct Orders {
    pub(super) config: CertificateConfig,
    pub(super) source: AcmeSource,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) state: State,
    rules: Rules,
    random: Random,
}

impl Ordering {
    pub(crate) fn new(state: State, issuers: Issuers, options: &Options) -> Self {
        Self {
            ledger: Arc::new(Ledger::new(state.clone(), Arc::clone(&options.now))),
            state,
            issuers,
            random: Arc::clone(&options.random),
        }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    pub(crate) fn orders(&self, config: &CertificateConfig, source: &AcmeSource) -> Arc<Orders> {
        Arc::new(Orders {
            config: config.clone(),
            source: source.clone(),
            issuer: (self.issuers)(source),
            ledger: Arc::clone(&self.ledger),
            state: self.state.clone(),
            rules: Rules::from(source),
            random: Arc::clone(&self.random),
        })
    }
}

/// What the task remembers from turn to turn.
#[derive(Default)]
struct Course {
    advice: Option<Advice>,
    probe: Option<Probe>,
    /// No go before this instant.
    not_before: Option<Instant>,
    /// A chain that is not valid yet.
    holding: Option<Box<Arrived>>,
    /// The chain serves, but is not kept: the note of its order stays until it is.
    undone: bool,
    revocation: Option<(Instant, Duration)>,
    told: Told,
}

/// What has been told and still holds.
#[derive(Default)]
struct Told {
    advised: Option<(Generation, u64)>,
    limited: Option<String>,
    waiting: bool,
    holding: bool,
    revocation: Option<IssueFault>,
}

/// What this turn is for.
enum Turn {
    /// A chain that could not be proved may be provable now.
    Accept(Box<Arrived>),
    Order(Why),
    Ask(usize),
    Probe(usize),
    Rest(Duration),
}

/// Keeps one certificate served and renewed until the task is aborted.
pub(crate) async fn order(mut certificate: Certificate, orders: Option<Arc<Orders>>) {
    certificate.orders.clone_from(&orders);
    certificate.restore().await;
    certificate.tell_expiry();
    // The CA's challenge has to reach us: readiness must not wait for it.
    certificate.loaded();
    let Some(orders) = orders else {
        return certificate.stay_without_state().await;
    };
    let mut course = Course::default();
    certificate.take_back(&orders).await;
    loop {
        certificate.tidy(&orders, &mut course).await;
        match certificate.plan(&orders, &mut course).await {
            Turn::Accept(arrived) => certificate.accept(&orders, &mut course, arrived).await,
            Turn::Order(why) => certificate.go(&orders, &mut course, why).await,
            Turn::Ask(authority) => certificate.ask_advice(&orders, &mut course, authority).await,
            Turn::Probe(authority) => certificate.probe(&orders, &mut course, authority).await,
            Turn::Rest(wait) => {
                certificate.tell_expiry();
                certificate.rest(wait).await;
            }
        }
    }
}

impl Certificate {
    /// Nothing can be ordered; what operators ask for is answered.
    async fn stay_without_state(mut self) {
        let error = IssueError {
            class: IssueFault::State,
            authority: String::new(),
            text: "nothing is ordered: keys and orders could not be kept".to_owned(),
            remedy: "set `state_dir`".to_owned(),
            retry_after: None,
        };
        let now = (self.options.now)();
        self.tell_failing(error, now);
        self.meanwhile(pending()).await
    }

    /// Removes what an order left behind that a crash ended, unless another process is at it.
    async fn take_back(&mut self, orders: &Arc<Orders>) {
        let orders = Arc::clone(orders);
        let name = self.config.name.clone();
        let taken_back = self.meanwhile(async move {
            match orders.state.lease.try_acquire(&name).await {
                Ok(Some(_lease)) => orders.issuer.clean_up(&name).await,
                // The next go says what is wrong with the state.
                Ok(None) | Err(_) => Ok(()),
            }
        });
        if let Err(error) = taken_back.await {
            tracing::warn!(
                certificate = self.config.name,
                "what an earlier order left behind is still there: {error} ({}); the next order removes it",
                error.remedy
            );
        }
    }

    /// What is left over from earlier turns.
    async fn tidy(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        if self.keep_again().await && course.undone {
            course.undone = false;
            self.forget_order(orders).await;
        }
        self.go_on_with_revocation(orders, course).await;
    }

    async fn plan(&mut self, orders: &Arc<Orders>, course: &mut Course) -> Turn {
        if let Some(arrived) = course.holding.take() {
            let wait = course.not_before.map_or(Duration::ZERO, |until| {
                until.saturating_duration_since(Instant::now())
            });
            if wait.is_zero() || std::mem::take(&mut self.asked) {
                return Turn::Accept(arrived);
            }
            course.holding = Some(arrived);
            return Turn::Rest(wait);
        }
        let next = match self.next(orders, course).await {
            Ok((next, _)) => next,
            Err(error) => {
                self.fail_for_state(&error);
                return Turn::Rest(LONGEST_REST);
            }
        };
        self.show_next(&next, course);
        self.tell_advice(&next, course);
        let blocked = course
            .not_before
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|wait| !wait.is_zero() && !self.asked);
        if !next.wait.is_zero() {
            return Turn::Rest(next.wait);
        }
        match next.action {
            Action::AskRenewalInfo { authority } => Turn::Ask(authority),
            Action::Probe { authority } => Turn::Probe(authority),
            Action::Issue => match blocked {
                Some(wait) => Turn::Rest(wait),
                None => Turn::Order(next.why),
            },
        }
    }

    async fn next(&self, orders: &Orders, course: &Course) -> Result<(schedule::Next, Record), StoreError> {
        let (domains, key, authorities) = (
            &orders.config.domains,
            orders.source.key,
            &orders.source.authorities,
        );
        let record = timeout(STATE_DEADLINE, orders.ledger.record(domains, key, authorities))
            .await
            .unwrap_or_else(|_| Err(hanging(&self.config.name)))?;
        let serving = self.serving();
        let known = Known {
            serving: serving.as_deref().map(|serving| self.life(serving, orders)),
            advice: course.advice.clone(),
            record: record.clone(),
            probe: course.probe,
            requested: self.asked,
            names_changed: serving.is_some_and(|serving| self.is_outdated(&serving, orders)),
        };
        Ok((schedule::next(&known, &orders.rules, orders.ledger.now()), record))
    }

    fn life(&self, serving: &Serving, orders: &Orders) -> Life {
        let (generation, bundle) = (serving.generation(), serving.bundle());
        Life {
            generation,
            not_before: bundle.not_before(),
            not_after: bundle.not_after(),
            authority: self.authority_of(generation, orders),
        }
    }

    /// The position of the CA that a kept version came from.
    fn authority_of(&self, generation: Generation, orders: &Orders) -> Option<usize> {
        let from = self.kept.version(generation)?.facts.authority.as_ref()?;
        orders
            .source
            .authorities
            .iter()
            .position(|one| one.directory == *from)
    }

    /// Whether what serves is not what is configured, or is to be revoked.
    fn is_outdated(&self, serving: &Serving, orders: &Orders) -> bool {
        let (generation, bundle) = (serving.generation(), serving.bundle());
        let covered = |wanted| bundle.names().iter().any(|name| name.covers(wanted));
        let to_revoke = self.kept.to_revoke().map(|(version, _)| version.generation());
        !self.config.domains.iter().all(covered)
            || !is_of_kind(bundle.key_kind(), orders.source.key)
            || self.authority_of(generation, orders).is_none()
            || to_revoke == Some(generation)
    }

    /// One go at the CAs.
    async fn go(&mut self, orders: &Arc<Orders>, course: &mut Course, why: Why) {
        self.asked = false;
        self.seen_at = Instant::now();
        course.not_before = Some(Instant::now() + SHORTEST_REST);
        if !course.told.waiting && course.told.limited.is_none() {
            let name = Arc::clone(self.post.name());
            self.post.tell(Event::Ordering { name, why });
        }
        self.show_now(control::Action::Ordering, event::words(why));
        let before = self.before(orders);
        let outcome = self.meanwhile(attempt::run(Arc::clone(orders), before)).await;
        let limited = course.told.limited.take();
        course.told.waiting &= matches!(outcome, Outcome::Busy);
        match outcome {
            Outcome::Arrived(arrived) => {
                self.post.tell(Event::Issued {
                    name: Arc::clone(self.post.name()),
                    authority: authority_name(orders, arrived.authority),
                    order: arrived.issued.order.clone(),
                    took: arrived.began.elapsed(),
                });
                course.told.holding = false;
                self.accept(orders, course, arrived).await;
            }
            Outcome::Elsewhere(kept) => self.take_over(orders, kept).await,
            Outcome::Busy => {
                course.not_before = Some(Instant::now() + BUSY_REST);
                if !std::mem::replace(&mut course.told.waiting, true) {
                    let name = Arc::clone(self.post.name());
                    self.post.tell(Event::Waiting { name });
                }
            }
            Outcome::Limited(wait) => self.note_limit(course, wait, limited),
            Outcome::Failed(error) => {
                let pause = orders.rules.first_retry.clamp(SHORTEST_REST, LONGEST_REST);
                course.not_before = Some(Instant::now() + pause);
                self.fail_go(orders, course, error).await;
            }
        }
    }

    fn before(&self, orders: &Orders) -> Before {
        let replaces = self.serving().and_then(|serving| {
            let authority = self.authority_of(serving.generation(), orders)?;
            Some((authority, leaf_of(serving.bundle())?))
        });
        let versions = &self.kept.versions;
        Before {
            replaces,
            generations: versions.iter().map(Version::generation).collect(),
            orders: versions
                .iter()
                .filter_map(|version| version.facts.order.clone())
                .collect(),
        }
    }

    /// Proves what came from a CA, and makes it serve. What cannot be proved yet is held, never ordered again.
    async fn accept(&mut self, orders: &Arc<Orders>, course: &mut Course, mut arrived: Box<Arrived>) {
        let pair = copy(&arrived.issued.pair);
        let not_before = CertBundle::parse(&pair.chain, &pair.key)
            .ok()
            .map(|bundle| bundle.not_before());
        match self.examine(pair).await {
            Ok(Found::New(candidate)) => {
                let origin = origin_of(orders, &arrived);
                let kept = self.promote(*candidate, origin).await;
                self.note_issued(orders, &mut arrived, not_before).await;
                if kept {
                    self.forget_order(orders).await;
                } else {
                    course.undone = true;
                }
                self.well();
            }
            Ok(Found::Unchanged | Found::HeldBack(..)) => {
                self.note_issued(orders, &mut arrived, not_before).await;
                self.forget_order(orders).await;
                self.post.clear_refusal();
                self.well();
            }
            Err((reason, _)) if may_be_proved_later(&reason) => {
                self.note_issued(orders, &mut arrived, not_before).await;
                self.hold(orders, course, arrived, reason);
            }
            Err((reason, _)) => {
                let error = IssueError {
                    class: IssueFault::Certificate,
                    authority: authority_name(orders, arrived.authority),
                    text: format!("what it issued may not serve: {reason}"),
                    remedy: error_of(orders, &arrived, reason).remedy().to_owned(),
                    retry_after: None,
                };
                if let Some(attempt) = arrived.attempt.take() {
                    note(orders.ledger.failed(attempt, &error).await, &self.config.name);
                }
                self.forget_order(orders).await;
                self.fail_go(orders, course, error).await;
            }
        }
    }

    fn hold(&mut self, orders: &Orders, course: &mut Course, arrived: Box<Arrived>, reason: Reason) {
        let error = error_of(orders, &arrived, reason);
        self.note_failing(&error, (self.options.now)());
        self.show_refusal(&error);
        self.show_now(
            control::Action::Hold,
            "what was issued is not valid yet by our clock",
        );
        if !std::mem::replace(&mut course.told.holding, true) {
            let name = Arc::clone(self.post.name());
            self.post.tell(Event::Holding { name, error });
        }
        course.not_before = Some(Instant::now() + LONGEST_REST.min(orders.rules.first_retry));
        course.holding = Some(arrived);
    }

    async fn note_issued(&self, orders: &Orders, arrived: &mut Arrived, not_before: Option<UnixTime>) {
        let not_before = not_before.unwrap_or_else(|| (self.options.now)());
        if let Some(attempt) = arrived.attempt.take() {
            note(orders.ledger.issued(attempt, not_before).await, &self.config.name);
        }
    }

    /// The note of a finished order goes. If it stays, the next go finds out that it is finished.
    async fn forget_order(&self, orders: &Orders) {
        if let Err(error) = orders.issuer.done(&self.config.name).await {
            tracing::warn!(
                certificate = self.config.name,
                "the note of a finished order stays: {error}"
            );
        }
    }

    /// Another process that shares the state has renewed it: its pair is proved here as well, then serves.
    async fn take_over(&mut self, orders: &Orders, mut kept: Kept) {
        let newest = kept.versions.first().map(Version::generation);
        let Some(version) = newest.and_then(|newest| kept.take(newest)) else {
            return;
        };
        let origin = Origin {
            authority: version.facts.authority.clone(),
            order: version.facts.order.clone(),
        };
        let examined = self.examine(copy(&version.pair)).await;
        self.kept = kept;
        match examined {
            Ok(Found::New(candidate)) => {
                self.promote(*candidate, origin).await;
                self.well();
            }
            Ok(Found::Unchanged | Found::HeldBack(..)) => self.kept.promote(version),
            Err((reason, _)) => {
                // It is known now, so the next go orders.
                self.kept.versions.push(version);
                let error = Error {
                    places: vec![format!("{}, kept by another process", orders.config.name)],
                    reason,
                };
                self.note_failing(&error, (self.options.now)());
                self.show_refusal(&error);
                let name = Arc::clone(self.post.name());
                let serving = self.serving().map(|serving| serving.generation());
                self.post.tell(Event::Refused { name, error, serving });
            }
        }
    }

    fn note_limit(&mut self, course: &mut Course, wait: Wait, told: Option<String>) {
        course.not_before = Some(Instant::now() + wait.wait.clamp(SHORTEST_REST, LONGEST_REST));
        let limit = format!("{}: {}", wait.authority, wait.limit);
        if told.as_ref() != Some(&limit) {
            self.post.tell(Event::Limited {
                name: Arc::clone(self.post.name()),
                limit: limit.clone(),
                until: later((self.options.now)(), wait.wait),
            });
        }
        course.told.limited = Some(limit);
    }

    async fn fail_go(&mut self, orders: &Orders, course: &Course, error: IssueError) {
        let next = match self.next(orders, course).await {
            Ok((next, _)) => next.order_at,
            Err(_) => later((self.options.now)(), LONGEST_REST),
        };
        self.tell_failing(error, next);
    }

    fn fail_for_state(&mut self, error: &StoreError) {
        let known = self.failing.is_some();
        let error = state_fault(error);
        let next = later((self.options.now)(), LONGEST_REST);
        if known {
            self.note_failing(&place(error), (self.options.now)());
        } else {
            self.tell_failing(error, next);
        }
    }

    fn tell_failing(&mut self, error: IssueError, next: UnixTime) {
        let now = (self.options.now)();
        let error = place(error);
        self.note_failing(&error, now);
        self.show_refusal(&error);
        let (since, attempts) = self
            .failing
            .as_ref()
            .map_or((now, 1), |one| (one.since, one.attempts));
        self.post.tell(Event::Failing {
            name: Arc::clone(self.post.name()),
            error,
            since,
            attempts,
            next,
            serving: self.serving().map(|serving| serving.generation()),
        });
        self.show(NextStep {
            action: control::Action::Retry,
            at: next,
            why: "the last attempt failed".to_owned(),
        });
    }

    async fn ask_advice(&mut self, orders: &Arc<Orders>, course: &mut Course, authority: usize) {
        let Some(serving) = self.serving() else { return };
        let Some(leaf) = leaf_of(serving.bundle()) else {
            return;
        };
        let generation = serving.generation();
        let issuer = Arc::clone(&orders.issuer);
        let answer = self
            .meanwhile(async move { issuer.renewal_info(authority, &leaf).await })
            .await;
        let (now, before) = (orders.ledger.now(), course.advice.take());
        let random = &mut || (orders.random)();
        course.advice = Some(match answer {
            Ok(info) => Advice::new(generation, info.as_ref(), before.as_ref(), now, random),
            Err(error) => {
                tracing::warn!(
                    certificate = self.config.name,
                    "{} gives no advice on the renewal: {error} ({})",
                    error.authority,
                    error.remedy
                );
                Advice::unknown(generation, error.retry_after, before.as_ref(), now, random)
            }
        });
    }

    async fn probe(&mut self, orders: &Arc<Orders>, course: &mut Course, authority: usize) {
        let issuer = Arc::clone(&orders.issuer);
        let found = self.meanwhile(async move { issuer.probe(authority).await }).await;
        course.probe = Some(Probe {
            at: orders.ledger.now().steady,
            reachable: found.is_ok(),
            draw: Draw::new(&mut || (orders.random)()),
        });
    }

    /// Revokes what an operator wants revoked, once something else serves.
    async fn go_on_with_revocation(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        let Some((version, reason)) = self.kept.to_revoke() else {
            return;
        };
        let generation = version.generation();
        let serves = self
            .serving()
            .is_none_or(|serving| serving.generation() == generation);
        let early = course.revocation.is_some_and(|(at, _)| Instant::now() < at);
        let Some(authority) = self.authority_of(generation, orders) else {
            return;
        };
        let leaf = CertBundle::parse(&version.pair.chain, &version.pair.key);
        let Some(leaf) = leaf.ok().as_ref().and_then(leaf_of) else {
            return;
        };
        if serves || early {
            return;
        }
        let issuer = Arc::clone(&orders.issuer);
        let revoked = self
            .meanwhile(async move { issuer.revoke(authority, &leaf, reason).await })
            .await;
        let name = Arc::clone(self.post.name());
        match revoked {
            Ok(()) => {
                (course.revocation, course.told.revocation) = (None, None);
                self.kept.revoked(generation);
                let kept = self.write_kept().await;
                self.note_keeping(kept);
                let authority = authority_name(orders, authority);
                self.post.tell(Event::Revoked {
                    name,
                    generation,
                    authority,
                });
            }
            Err(error) => {
                let rest = course.revocation.map_or(REVOCATION_REST, |(_, rest)| rest * 2);
                let rest = rest
                    .min(LONGEST_REVOCATION_REST)
                    .max(error.retry_after.unwrap_or_default());
                course.revocation = Some((Instant::now() + rest, rest));
                if course.told.revocation.replace(error.class) != Some(error.class) {
                    let error = place(error);
                    self.post.tell(Event::RevocationFailed {
                        name,
                        generation,
                        error,
                    });
                }
            }
        }
    }

    /// Until the next turn, or until somebody asks for a new one.
    async fn rest(&mut self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_REST);
        // A wish that waits for a `Retry-After` has been heard already.
        let heard = self.asked;
        while heard || !self.asked {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(command) = self.lines.commands.recv() => self.obey(command).await,
            }
        }
    }

    fn tell_advice(&mut self, next: &schedule::Next, course: &mut Course) {
        let (Some(serving), Why::Advised) = (self.serving(), next.why) else {
            return;
        };
        let (generation, at) = (serving.generation(), next.order_at.as_secs());
        let told = course
            .told
            .advised
            .is_some_and(|(one, told)| one == generation && told.abs_diff(at) < TOLD_APART);
        if !told {
            course.told.advised = Some((generation, at));
            self.post.tell(Event::RenewalAdvised {
                name: Arc::clone(self.post.name()),
                at: next.order_at,
                explanation: explanation(course),
            });
        }
    }

    fn show_next(&self, next: &schedule::Next, course: &Course) {
        if course.holding.is_some() {
            return;
        }
        let action = match self.failing {
            Some(_) => control::Action::Retry,
            None => control::Action::Order,
        };
        self.show(NextStep {
            action,
            at: next.order_at,
            why: event::words(next.why).to_owned(),
        });
        self.lines.view.send_modify(|view| {
            if let Some(acme) = &mut view.acme {
                acme.explanation = explanation(course);
                acme.next_order = Some((next.order_at, next.why));
            }
        });
    }

    fn show_now(&self, action: control::Action, why: &str) {
        self.show(NextStep {
            action,
            at: (self.options.now)(),
            why: why.to_owned(),
        });
    }
}

fn explanation(course: &Course) -> Option<String> {
    course
        .advice
        .as_ref()
        .and_then(Advice::explanation)
        .map(str::to_owned)
}

fn leaf_of(bundle: &CertBundle) -> Option<Vec<u8>> {
    bundle.certified_key().cert.first().map(|leaf| leaf.to_vec())
}

fn is_of_kind(key: certstore::KeyKind, wanted: KeyType) -> bool {
    use certstore::KeyKind;

    match wanted {
        KeyType::EcdsaP256 => key == KeyKind::EcdsaP256,
        KeyType::EcdsaP384 => key == KeyKind::EcdsaP384,
        KeyType::Rsa2048 => key == KeyKind::Rsa(2048),
        KeyType::Rsa3072 => key == KeyKind::Rsa(3072),
        KeyType::Rsa4096 => key == KeyKind::Rsa(4096),
    }
}

/// Nothing is wrong with the chain itself: time, or our own next step, will make it good.
fn may_be_proved_later(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Prove(ProveError::NotYetValid { .. }) | Reason::NoAnchors { .. } | Reason::Internal(_)
    )
}

fn origin_of(orders: &Orders, arrived: &Arrived) -> Origin {
    let authority = orders.source.authorities.get(arrived.authority);
    Origin {
        authority: authority.map(|one| one.directory.clone()),
        order: Some(arrived.issued.order.clone()),
    }
}

fn authority_name(orders: &Orders, authority: usize) -> String {
    let authority = orders.source.authorities.get(authority);
    authority.map(|one| one.name.clone()).unwrap_or_default()
}

fn error_of(orders: &Orders, arrived: &Arrived, reason: Reason) -> Error {
    Error {
        places: vec![authority_name(orders, arrived.authority)],
        reason,
    }
}

/// An error of an attempt with the place that it is about.
fn place(error: IssueError) -> Error {
    let place = match error.authority.as_str() {
        "" => "ACME".to_owned(),
        authority => authority.to_owned(),
    };
    Error {
        places: vec![place],
        reason: Reason::Issue(error),
    }
}

fn later(now: UnixTime, wait: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(wait))
}

fn note(written: Result<(), StoreError>, name: &str) {
    if let Err(error) = written {
        tracing::warn!(
            certificate = name,
            "the ledger of orders: {error}; it is written with the next note"
        );
    }
}
