//! The course of a certificate that is renewed here: plan → order → prove → promote.
//!
//! [`schedule::next`] decides on the next action; it is asked again at least every minute, because the clock may be
//! set. An order is one [`attempt`]; a chain that arrives goes through the same steps as a fetched pair.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, Serving, UnixTime};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use super::Certificate;
use super::accept::ca_name;
use super::attempt::{self, Arrived, Before, Outcome};
use super::leftovers;
use super::orders::{Orders, is_of_kind};
use super::revocation::leaf_of;
use super::told::place;
use super::view::Failing;
use crate::acme::{self};
use crate::error::{IssueError, IssueFault};
use crate::event::{self, Event};
use crate::kept::Version;
use crate::schedule::{
    self, Advice, Block, Facts, Jitter, Life, MonotonicTime, OrderRecord, Probe, ScheduledAction, Why, later,
};
use crate::store::{STATE_DEADLINE, StoreError};
use crate::view;

/// Longest wait before the schedule is asked again: the clock may have been set.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(60);

/// Least time between two rounds, whatever the schedule says.
pub(super) const SHORTEST_REST: Duration = Duration::from_secs(1);

/// Longest time between two attempts to remove the remains of an order.
const LONGEST_LEFT_REST: Duration = Duration::from_secs(24 * 60 * 60);

/// Wait after a round that found another process ordering.
const BUSY_REST: Duration = Duration::from_secs(10);

/// State that the task carries from turn to turn.
#[derive(Default)]
pub(super) struct Course {
    pub(super) advice: Option<Advice>,
    pub(super) probe: Option<Probe>,
    /// Time at which a CA last issued for these names, as far as the plan knows.
    pub(super) issued_at: Option<MonotonicTime>,
    /// `issued_at` at the last search for a version kept under another name.
    pub(super) looked_for: Option<Option<MonotonicTime>>,
    /// Earliest instant of the next round.
    pub(super) not_before: Option<Instant>,
    /// A chain that cannot be proved yet.
    pub(super) holding: Option<Box<Arrived>>,
    /// Instant since which it is held.
    pub(super) held_since: Option<Instant>,
    /// Instant since which another process has been ordering.
    pub(super) busy_since: Option<Instant>,
    /// The chain serves, but is not kept: the note of its order stays until it is.
    pub(super) undone: bool,
    /// TXT records of an order that is over.
    pub(super) left: Option<Left>,
    pub(super) told: Told,
}

/// Remains of an order that could not be removed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// Instant of the next attempt.
    at: Instant,
    /// Wait after that attempt.
    rest: Duration,
    /// Shown as the certificate's failure.
    shown: bool,
}

impl Left {
    pub(super) fn new(now: Instant, first_retry: Duration) -> Self {
        Self {
            at: now,
            rest: first_retry,
            shown: false,
        }
    }

    /// The state after another failed attempt: the wait is ten times longer each time, up to a day.
    fn again(self, now: Instant) -> Self {
        Self {
            at: now + self.rest,
            rest: self.rest.saturating_mul(10).min(LONGEST_LEFT_REST),
            shown: true,
        }
    }
}

/// Reports that were made and still hold.
#[derive(Default)]
pub(super) struct Told {
    pub(super) advised: Option<(Fingerprint, u64)>,
    pub(super) limited: Option<Limited>,
    /// The reason that delays an order that is due, and its end.
    pub(super) held: Option<(Block, UnixTime)>,
    pub(super) waiting: bool,
    /// Another process has been ordering for too long.
    pub(super) busy: bool,
    pub(super) unadvised: Option<IssueFault>,
    pub(super) holding: bool,
}

/// A limit of a CA that an order waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) limit: String,
    pub(super) until: UnixTime,
}

/// The task of this turn.
enum Turn {
    /// A chain that could not be proved, and may be provable now.
    Accept(Box<Arrived>),
    Order(Why),
    Ask(usize),
    Probe(usize),
    CheckNames,
    Rest(Duration),
}

/// Keeps one certificate served and renewed. Ends only by abortion.
///
/// One order of a certificate is in progress at a time, in all processes that share the state. Nothing is ordered
/// without a state directory, while the kept document is unread, or before the ledger has noted it. A chain that cannot
/// be proved yet is held, and not ordered again. Errors become events and the view. Aborted, it may leave behind the
/// note of an order with its key, TXT records, and entries in the ledger: the certificate's next task continues the
/// order, or [`leftovers`] clears it. `before`: the requirements of its orders until a reload, if it had any.
pub(crate) async fn order(
    mut certificate: Certificate,
    orders: Option<Arc<Orders>>,
    before: Option<Arc<Orders>>,
) {
    certificate.orders.clone_from(&orders);
    certificate.restore().await;
    certificate.tell_expiry();
    // The CA's challenge has to reach us: readiness must not wait for it.
    certificate.loaded();
    let Some(orders) = orders else {
        return certificate.stay_without_state().await;
    };
    let mut course = Course::default();
    certificate.take_back(&orders, &mut course, before).await;
    loop {
        certificate.tidy(&orders, &mut course).await;
        match certificate.plan(&orders, &mut course).await {
            Turn::Accept(arrived) => certificate.accept(&orders, &mut course, arrived).await,
            Turn::Order(why) => certificate.go(&orders, &mut course, why).await,
            Turn::Ask(ca) => certificate.ask_advice(&orders, &mut course, ca).await,
            Turn::Probe(ca) => certificate.probe(&orders, &mut course, ca).await,
            Turn::CheckNames => certificate.check_names(&orders, &mut course).await,
            Turn::Rest(wait) => {
                certificate.tell_expiry();
                certificate.rest(wait).await;
            }
        }
    }
}

impl Certificate {
    /// Orders nothing; answers commands.
    async fn stay_without_state(mut self) {
        let error = IssueError {
            class: IssueFault::State,
            ca: String::new(),
            text: "nothing is ordered: keys and orders could not be kept".to_owned(),
            remedy: "set `state_dir`".to_owned(),
            retry_after: None,
        };
        let now = (self.options.now)();
        self.tell_failing(error, now, None);
        self.meanwhile(pending()).await
    }

    /// Removes the remains of an order that a crash ended, at once or as soon as no other process has its lease.
    async fn take_back(&mut self, orders: &Arc<Orders>, course: &mut Course, before: Option<Arc<Orders>>) {
        let orders = Arc::clone(orders);
        let first_retry = orders.rules.first_retry;
        let before = before.filter(|before| before.source.challenge != orders.source.challenge);
        let taken_back = self.meanwhile(async move {
            if let Some(before) = before {
                leftovers::take_back_as_before(&before).await?;
            }
            leftovers::take_back(&orders).await
        });
        let taken_back = taken_back.await;
        let now = Instant::now();
        match taken_back {
            Ok(true) => {}
            Ok(false) => course.left = Some(Left::new(now + BUSY_REST, first_retry)),
            Err(error) => {
                course.left = Some(Left::new(now, first_retry).again(now));
                self.show_left(error);
            }
        }
    }

    /// Tries again to remove the remains of an order. A renewal, which would do it, may be months away.
    async fn remove_left(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        let Some(left) = course.left.filter(|left| left.at <= Instant::now()) else {
            return;
        };
        let of_order = Arc::clone(orders);
        let removed = self.meanwhile(async move { leftovers::take_back(&of_order).await });
        match removed.await {
            Ok(true) => {
                course.left = None;
                if left.shown && self.failing.as_ref().is_some_and(Failing::is_of_dns) {
                    self.failing = None;
                    self.post.clear_refusal();
                    self.show_state();
                    tracing::info!(
                        certificate = self.config.name,
                        "what an order left behind is removed"
                    );
                }
            }
            Ok(false) => {
                let at = Instant::now() + BUSY_REST;
                course.left = Some(Left { at, ..left });
            }
            Err(error) => {
                course.left = Some(left.again(Instant::now()));
                self.show_left(error);
            }
        }
    }

    /// Reports remains that could not be removed. An order that fails has its own report, and its failure goes first.
    fn show_left(&mut self, error: IssueError) {
        tracing::warn!(
            certificate = self.config.name,
            "what an order left behind is still there: {error} ({}); it is tried again",
            error.remedy
        );
        if self.failing.as_ref().is_none_or(Failing::is_of_dns) {
            self.note_failing(&place(error), (self.options.now)());
        }
    }

    /// Finishes the work left over from earlier turns.
    async fn tidy(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        self.restore_if_unread().await;
        self.look_again().await;
        if self.anchors_changed {
            if course.holding.is_some() {
                course.not_before = None;
            }
            self.prove_to_anchors(orders).await;
        }
        // Another search is worth while only once a CA has issued for these names.
        if course.looked_for != Some(course.issued_at) {
            course.looked_for = Some(course.issued_at);
            self.inherit(orders).await;
        }
        if self.keep_again().await && course.undone {
            course.undone = false;
            self.forget_order(orders, course).await;
        }
        self.remove_left(orders, course).await;
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
            Ok((next, record)) => {
                course.issued_at = record.last_issued.map(|last| last.at);
                next
            }
            Err(error) => {
                self.fail_for_state(&error);
                return Turn::Rest(LONGEST_REST);
            }
        };
        self.tell_held(&next, course, &orders.rules);
        self.show_next(&next, course, &orders.rules);
        self.tell_advice(&next, course);
        let blocked = course
            .not_before
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|wait| !wait.is_zero() && !self.asked);
        if !next.wait.is_zero() {
            return Turn::Rest(next.wait);
        }
        match next.action {
            ScheduledAction::AskRenewalInfo { ca } => Turn::Ask(ca),
            ScheduledAction::Probe { ca } => Turn::Probe(ca),
            ScheduledAction::CheckNames => Turn::CheckNames,
            ScheduledAction::Issue => match blocked {
                Some(wait) => Turn::Rest(wait),
                None => Turn::Order(next.why),
            },
        }
    }

    pub(super) async fn next(
        &self,
        orders: &Orders,
        course: &Course,
    ) -> Result<(schedule::Next, OrderRecord), StoreError> {
        let (domains, key, cas) = (&orders.config.domains, orders.source.key, &orders.source.cas);
        let record = timeout(STATE_DEADLINE, orders.ledger.record(domains, key, cas))
            .await
            .unwrap_or_else(|_| Err(StoreError::hanging(&self.config.name)))?;
        let serving = self.serving();
        let life = serving.as_deref().map(|serving| self.life(serving, orders));
        let mut counted = record.clone();
        // The floor spares a CA orders for a certificate that exists. One that is to be revoked does not count.
        if let Some(life) = life.filter(|life| self.is_to_be_revoked(life.fingerprint)) {
            counted
                .last_issued
                .take_if(|issued| issued.not_before == Some(life.not_before));
        }
        let known = Facts {
            serving: life,
            advice: course.advice.clone(),
            record: counted,
            probe: course.probe,
            requested: self.asked,
            wanted: self.wanted,
            names_changed: serving.is_some_and(|serving| self.is_outdated(&serving, orders)),
        };
        Ok((schedule::next(&known, &orders.rules, orders.ledger.now()), record))
    }

    fn life(&self, serving: &Serving, orders: &Orders) -> Life {
        let (fingerprint, bundle) = (serving.fingerprint(), serving.bundle());
        Life {
            fingerprint,
            not_before: bundle.not_before(),
            not_after: bundle.not_after(),
            ca: self.ca_of(fingerprint, orders),
        }
    }

    /// The position of the CA that issued a kept version.
    pub(super) fn ca_of(&self, fingerprint: Fingerprint, orders: &Orders) -> Option<usize> {
        let from = self.kept.version(fingerprint)?.facts.ca.as_ref()?;
        orders.source.cas.iter().position(|one| one.directory == *from)
    }

    /// True if the serving version is not the configured one, or is to be revoked.
    fn is_outdated(&self, serving: &Serving, orders: &Orders) -> bool {
        let (fingerprint, bundle) = (serving.fingerprint(), serving.bundle());
        let covered = |wanted| bundle.names().iter().any(|name| name.covers(wanted));
        !self.config.domains.iter().all(covered)
            || !is_of_kind(bundle.key_kind(), orders.source.key)
            || self.ca_of(fingerprint, orders).is_none()
            || self.is_to_be_revoked(fingerprint)
    }

    /// One round over the CAs.
    async fn go(&mut self, orders: &Arc<Orders>, course: &mut Course, why: Why) {
        let asked = std::mem::take(&mut self.asked);
        self.wanted |= asked;
        self.seen_at = Instant::now();
        course.not_before = Some(Instant::now() + SHORTEST_REST);
        course.probe = None;
        let before = self.before(orders, course.issued_at, asked);
        let turn = self.turn(orders).await;
        if !course.told.waiting && course.told.limited.is_none() {
            let name = Arc::clone(self.post.name());
            self.post.tell(Event::Ordering { name, why });
        }
        self.show_now(view::Action::Ordering, event::words(why));
        let outcome = self
            .meanwhile(attempt::run(Arc::clone(orders), before, turn))
            .await;
        // An operator who asks gets a report of the limit again.
        let limited = course.told.limited.take().filter(|_| !asked);
        if !matches!(outcome, Outcome::Busy) {
            (course.busy_since, course.told.busy, course.told.waiting) = (None, false, false);
        }
        match outcome {
            Outcome::Arrived(arrived) => {
                self.post.tell(Event::Issued {
                    name: Arc::clone(self.post.name()),
                    ca: ca_name(orders, arrived.ca),
                    order: arrived.issued.order.clone(),
                    took: arrived.began.elapsed(),
                });
                course.told.holding = false;
                for passed in &arrived.passed_over {
                    self.tell_passed_over(passed, &ca_name(orders, arrived.ca));
                }
                self.accept(orders, course, arrived).await;
            }
            Outcome::Elsewhere => self.look_again().await,
            Outcome::Busy => self.note_busy(orders, course),
            Outcome::Limited(wait) => self.note_limit(course, wait, limited.as_ref()),
            Outcome::Failed(error) => {
                let pause = orders.rules.first_retry.clamp(SHORTEST_REST, LONGEST_REST);
                course.not_before = Some(Instant::now() + pause);
                self.fail_go(orders, course, error).await;
            }
        }
    }

    /// Waits for a turn, before anything is noted: a certificate that only waits has not ordered.
    async fn turn(&mut self, orders: &Orders) -> acme::Turn {
        const WAITS: &str = "it waits for its turn: as many orders are under way as `max_orders` allows";
        let mut turn = orders.issuer.turn();
        if let Some(turn) = (&mut turn).now_or_never() {
            return turn;
        }
        self.show_now(view::Action::Order, WAITS);
        self.meanwhile(turn).await
    }

    /// Notes that another process is ordering. One that takes longer than a round may take hangs.
    fn note_busy(&mut self, orders: &Orders, course: &mut Course) {
        course.not_before = Some(Instant::now() + BUSY_REST);
        if !std::mem::replace(&mut course.told.waiting, true) {
            let name = Arc::clone(self.post.name());
            self.post.tell(Event::Waiting { name });
        }
        let since = *course.busy_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= orders.max_go() && !std::mem::replace(&mut course.told.busy, true) {
            let error = IssueError {
                class: IssueFault::State,
                ca: String::new(),
                text: format!(
                    "another process that shares `state_dir` has been ordering it for {} minutes",
                    orders.max_go().as_secs() / 60
                ),
                remedy: "see what that process says, and end it if it hangs".to_owned(),
                retry_after: None,
            };
            self.tell_failing(error, later((self.options.now)(), BUSY_REST), None);
        }
    }

    fn before(&self, orders: &Orders, issued_at: Option<MonotonicTime>, by_hand: bool) -> Before {
        let replaces = self.serving().and_then(|serving| {
            let ca = self.ca_of(serving.fingerprint(), orders)?;
            Some((ca, leaf_of(serving.bundle())?))
        });
        let versions = &self.kept.versions;
        Before {
            replaces,
            fingerprints: versions.iter().map(Version::fingerprint).collect(),
            orders: versions
                .iter()
                .filter_map(|version| version.facts.order.clone())
                .collect(),
            issued_at,
            by_hand,
        }
    }

    async fn ask_advice(&mut self, orders: &Arc<Orders>, course: &mut Course, ca: usize) {
        let Some(serving) = self.serving() else { return };
        let Some(leaf) = leaf_of(serving.bundle()) else {
            return;
        };
        let fingerprint = serving.fingerprint();
        let issuer = Arc::clone(&orders.issuer);
        let answer = self
            .meanwhile(async move { issuer.renewal_info(ca, &leaf).await })
            .await;
        let (now, before) = (orders.ledger.now(), course.advice.take());
        let random = &mut || (orders.random)();
        course.advice = Some(match answer {
            Ok(info) => {
                course.told.unadvised = None;
                Advice::new(fingerprint, info.as_ref(), before.as_ref(), now, random)
            }
            Err(error) => {
                // Reported once until the CA answers again: it is asked at least twice a day.
                if course.told.unadvised.replace(error.class) != Some(error.class) {
                    tracing::warn!(
                        certificate = self.config.name,
                        "{} gives no advice on the renewal: {error} ({}); without it, it is renewed by its share of \
                         life",
                        error.ca,
                        error.remedy
                    );
                }
                Advice::unknown(fingerprint, error.limit(), before.as_ref(), now, random)
            }
        });
    }

    async fn probe(&mut self, orders: &Arc<Orders>, course: &mut Course, ca: usize) {
        let issuer = Arc::clone(&orders.issuer);
        let found = self.meanwhile(async move { issuer.probe(ca).await }).await;
        note_probe(orders, course, Some(found.is_ok()));
    }

    async fn check_names(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        let (issuer, request) = (Arc::clone(&orders.issuer), orders.request(0, None));
        let found = self
            .meanwhile(async move { issuer.check_names(&request).await })
            .await;
        note_probe(orders, course, found.ok());
    }

    /// Waits for the next turn, for a wish, for a command that makes another version serve, or for other anchors in
    /// force.
    async fn rest(&mut self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_REST);
        // A wish that waits for a `Retry-After` is known already.
        let heard = self.asked;
        let fingerprint = |serving: Option<Arc<Serving>>| serving.map(|serving| serving.fingerprint());
        let served = fingerprint(self.serving());
        while (heard || !self.asked) && fingerprint(self.serving()) == served {
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = self.trust_changes.changed(), if self.config.trust.is_some() => {
                    self.anchors_changed = true;
                    return;
                }
                Some(command) = self.lines.commands.recv() => self.obey(command).await,
            }
        }
    }
}

/// Notes the result of a probe; `None`: there was none.
fn note_probe(orders: &Orders, course: &mut Course, good: Option<bool>) {
    let was_bad = course.probe.is_some_and(|probe| probe.was_bad);
    course.probe = Some(Probe {
        at: orders.ledger.now().monotonic,
        good: good == Some(true),
        was_bad: was_bad || good == Some(false),
        jitter: Jitter::new(&mut || (orders.random)()),
    });
}
