//! The story of a certificate that is renewed here: plan → order → prove → promote.
//!
//! [`schedule::next`] decides on the next action; it is asked again at least every minute, because the clock may be
//! set. An order is one [`attempt`]; a chain that arrives goes through the same steps as a fetched pair.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, Serving, UnixTime};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use super::Core;
use super::attempt::{self, IssuedChain, RoundFacts, RoundOutcome};
use super::leftovers;
use super::orders::Orders;
use super::reports::place;
use super::revocation::leaf_of;
use crate::acme;
use crate::error::{IssueError, IssueFault};
use crate::event::{EventKind, order_reason};
use crate::kept::KeptVersion;
use crate::schedule::{
    self, Advice, Block, Facts, Jitter, Life, MonotonicTime, OrderRecord, Probe, ScheduledAction, Why, later,
};
use crate::store::{STATE_DEADLINE, StoreError};
use crate::view::{self, LastError};

/// Longest wait before the schedule is asked again: the clock may have been set.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// Least time between two rounds, whatever the schedule says.
pub(super) const MIN_ROUND_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time between two attempts to remove the remains of an order.
const MAX_REMOVAL_RETRY: Duration = Duration::from_secs(24 * 60 * 60);

/// Wait after a round that found another process ordering.
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// A certificate that is renewed here.
///
/// One order of a certificate is in progress at a time, in all processes that share the state. Nothing is ordered
/// while the kept document is unread, or before the ledger has noted it. A chain that cannot be proved yet is held, and
/// not ordered again. Errors become events and the view. Aborted, it may leave behind the note of an order with its
/// key, TXT records, and entries in the ledger: the certificate's next task continues the order, or [`leftovers`]
/// clears it.
pub(crate) struct Ordered {
    pub(super) core: Core,
    pub(super) orders: Arc<Orders>,
    pub(super) progress: OrderingProgress,
    /// The trust bundle has changed, and the serving bundle is not proved again yet.
    pub(super) anchors_changed: bool,
}

/// The state of ordering, from step to step.
#[derive(Default)]
pub(super) struct OrderingProgress {
    pub(super) advice: Option<Advice>,
    pub(super) probe: Option<Probe>,
    /// Time at which a CA last issued for these names, as far as the plan knows.
    pub(super) issued_at: Option<MonotonicTime>,
    /// A version kept under another name has been searched for since then.
    pub(super) searched: bool,
    /// Earliest instant of the next round.
    pub(super) not_before: Option<Instant>,
    /// A chain that cannot be proved yet.
    pub(super) postponed: Option<Box<IssuedChain>>,
    /// Instant since which another process has been ordering.
    pub(super) busy_since: Option<Instant>,
    /// The chain serves, but is not kept: the note of its order stays until it is.
    pub(super) note_remains: bool,
    /// TXT records of an order that is over.
    pub(super) remains: Option<Remains>,
    pub(super) reports: Reports,
}

/// Remains of an order that could not be removed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remains {
    /// Instant of the next attempt.
    at: Instant,
    /// Wait after that attempt.
    rest: Duration,
    /// Shown as the certificate's failure.
    shown: bool,
}

impl OrderingProgress {
    /// Time until the next round may begin.
    fn wait(&self) -> Duration {
        let until = self.not_before.unwrap_or_else(Instant::now);
        until.saturating_duration_since(Instant::now())
    }
}

impl Remains {
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
            rest: self.rest.saturating_mul(10).min(MAX_REMOVAL_RETRY),
            shown: true,
        }
    }
}

/// Reports that were made and still hold.
#[derive(Default)]
pub(super) struct Reports {
    pub(super) advised: Option<(Fingerprint, u64)>,
    pub(super) limited: Option<CaLimit>,
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
pub(super) struct CaLimit {
    pub(super) limit: String,
    pub(super) until: UnixTime,
}

/// The next step.
enum OrderStep {
    /// A chain that could not be proved, and may be provable now.
    Accept(Box<IssuedChain>),
    Order(Why),
    Ask(usize),
    Probe(usize),
    CheckNames,
    Wait(Duration),
}

impl Core {
    /// An ordered certificate without a state directory: it serves on, orders nothing, and answers commands.
    pub(crate) async fn run_without_state(mut self) {
        self.restore().await;
        self.report_expiry();
        self.reach_loaded();
        let text = "nothing is ordered: keys and orders could not be kept";
        let error = IssueError::new(IssueFault::State, text, "set `state_dir`");
        let now = (self.options.now)();
        self.report_failing(error, now, None);
        self.meanwhile(pending()).await
    }
}

impl Ordered {
    pub(crate) fn new(core: Core, orders: Arc<Orders>) -> Self {
        Self {
            // The kept versions were proved against other anchors, or against none.
            anchors_changed: core.config.trust.is_some(),
            progress: OrderingProgress {
                remains: Some(Remains::new(Instant::now(), orders.rules.first_retry)),
                ..OrderingProgress::default()
            },
            core,
            orders,
        }
    }

    /// Keeps the certificate served and renewed. Ends only by abortion. `before`: the requirements of its orders until
    /// a reload, if it had any.
    pub(crate) async fn run(mut self, before: Option<Arc<Orders>>) {
        self.core.restore().await;
        self.core.report_expiry();
        // The CA's challenge has to reach us: readiness must not wait for it.
        self.core.reach_loaded();
        let before = before.filter(|before| before.source.challenge != self.orders.source.challenge);
        self.remove_remains(before).await;
        loop {
            self.finish_earlier_work().await;
            match self.plan().await {
                OrderStep::Accept(chain) => self.accept(chain).await,
                OrderStep::Order(why) => self.run_round(why).await,
                OrderStep::Ask(ca) => self.ask_advice(ca).await,
                OrderStep::Probe(ca) => {
                    let found = self.core.meanwhile(self.orders.issuer.probe(ca)).await;
                    self.note_probe(Some(found.is_ok()));
                }
                OrderStep::CheckNames => {
                    let request = self.orders.request(0, None);
                    let found = self
                        .core
                        .meanwhile(self.orders.issuer.check_names(&request))
                        .await;
                    self.note_probe(found.ok());
                }
                OrderStep::Wait(wait) => {
                    self.core.report_expiry();
                    self.rest(wait).await;
                }
            }
        }
    }

    /// Removes the remains of an order that a crash ended, once they are due. A renewal, which would do it, may be
    /// months away. With `before`, those that only an issuer of before a reload can remove go first.
    async fn remove_remains(&mut self, before: Option<Arc<Orders>>) {
        let Some(left) = self.progress.remains.filter(|left| left.at <= Instant::now()) else {
            return;
        };
        let orders = &self.orders;
        let removed = self.core.meanwhile(async move {
            if let Some(before) = before {
                leftovers::remove_records_as_before(&before).await?;
            }
            leftovers::remove_records(orders).await
        });
        let removed = removed.await;
        let now = Instant::now();
        match removed {
            Ok(true) => {
                self.progress.remains = None;
                if left.shown && self.core.failing.as_ref().is_some_and(LastError::is_of_dns) {
                    self.core.failing = None;
                    self.core.publisher.clear_refusal();
                    self.core.show_state();
                    self.core.publisher.report(EventKind::RemainsRemoved);
                }
            }
            Ok(false) => {
                let at = now + BUSY_RETRY;
                self.progress.remains = Some(Remains { at, ..left });
            }
            Err(error) => {
                self.progress.remains = Some(left.again(now));
                self.report_remains(error);
            }
        }
    }

    /// Reports remains that could not be removed. An order that fails has its own report, and its failure goes first.
    fn report_remains(&mut self, error: IssueError) {
        self.core.publisher.report(EventKind::RemainsLeft {
            is_ordered: true,
            error: format!("{error} ({})", error.remedy),
        });
        if self.core.failing.as_ref().is_none_or(LastError::is_of_dns) {
            self.core.note_failing(&place(error), (self.core.options.now)());
        }
    }

    /// Finishes the work left over from earlier steps.
    async fn finish_earlier_work(&mut self) {
        self.core.restore_if_unread().await;
        self.core.look_again().await;
        if self.anchors_changed {
            if self.progress.postponed.is_some() {
                self.progress.not_before = None;
            }
            self.prove_to_anchors().await;
        }
        // Another search is worth while only once a CA has issued for these names.
        if !std::mem::replace(&mut self.progress.searched, true) {
            self.core.inherit(&self.orders).await;
        }
        if self.core.keep_again().await && self.progress.note_remains {
            self.progress.note_remains = false;
            self.remove_order_note().await;
        }
        self.remove_remains(None).await;
    }

    async fn plan(&mut self) -> OrderStep {
        if let Some(chain) = self.progress.postponed.take() {
            let wait = self.progress.wait();
            if wait.is_zero() || std::mem::take(&mut self.core.renewal_requested) {
                return OrderStep::Accept(chain);
            }
            self.progress.postponed = Some(chain);
            return OrderStep::Wait(wait);
        }
        let next = match self.next().await {
            Ok((next, record)) => {
                let issued_at = record.last_issued.map(|last| last.at);
                self.progress.searched &= self.progress.issued_at == issued_at;
                self.progress.issued_at = issued_at;
                next
            }
            Err(error) => {
                self.fail_for_state(&error);
                return OrderStep::Wait(MAX_WAIT);
            }
        };
        self.report_block(&next);
        self.show_next(&next);
        self.report_advice(&next);
        let blocked = self.progress.wait();
        match next.action {
            _ if !next.wait.is_zero() => OrderStep::Wait(next.wait),
            ScheduledAction::AskRenewalInfo { ca } => OrderStep::Ask(ca),
            ScheduledAction::Probe { ca } => OrderStep::Probe(ca),
            ScheduledAction::CheckNames => OrderStep::CheckNames,
            ScheduledAction::Issue if blocked.is_zero() || self.core.renewal_requested => {
                OrderStep::Order(next.why)
            }
            ScheduledAction::Issue => OrderStep::Wait(blocked),
        }
    }

    pub(super) async fn next(&self) -> Result<(schedule::Next, OrderRecord), StoreError> {
        let (domains, key, cas) = (
            &self.orders.config.domains,
            self.orders.source.key,
            &self.orders.source.cas,
        );
        let record = timeout(STATE_DEADLINE, self.orders.ledger.record(domains, key, cas))
            .await
            .unwrap_or_else(|_| Err(StoreError::hanging(&self.core.config.name)))?;
        let serving = self.core.serving();
        let life = serving.as_deref().map(|serving| Life {
            fingerprint: serving.fingerprint(),
            not_before: serving.bundle().not_before(),
            not_after: serving.bundle().not_after(),
            ca: self.ca_of(serving.fingerprint()),
        });
        let mut counted = record.clone();
        // The floor spares a CA orders for a certificate that exists. One that is to be revoked does not count.
        if let Some(life) = life.filter(|life| self.core.is_to_be_revoked(life.fingerprint)) {
            counted
                .last_issued
                .take_if(|issued| issued.not_before == Some(life.not_before));
        }
        let known = Facts {
            serving: life,
            advice: self.progress.advice.clone(),
            record: counted,
            probe: self.progress.probe,
            requested: self.core.renewal_requested,
            wanted: self.core.renewal_pending,
            names_changed: serving.is_some_and(|serving| self.is_outdated(serving.fingerprint())),
        };
        Ok((
            schedule::next(&known, &self.orders.rules, self.orders.ledger.now()),
            record,
        ))
    }

    /// The position of the CA that issued a kept version.
    pub(super) fn ca_of(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.orders.ca_of(self.core.kept.version(fingerprint)?)
    }

    /// True if the version is not the configured one, or is to be revoked.
    fn is_outdated(&self, fingerprint: Fingerprint) -> bool {
        let version = self.core.kept.version(fingerprint);
        version.is_none_or(|version| !self.orders.wants(version)) || self.core.is_to_be_revoked(fingerprint)
    }

    /// One round over the CAs.
    async fn run_round(&mut self, why: Why) {
        let asked = std::mem::take(&mut self.core.renewal_requested);
        self.core.renewal_pending |= asked;
        self.core.seen_at = Instant::now();
        self.progress.not_before = Some(Instant::now() + MIN_ROUND_INTERVAL);
        self.progress.probe = None;
        let before = self.round_facts(asked);
        let permit = self.wait_for_permit().await;
        if !self.progress.reports.waiting && self.progress.reports.limited.is_none() {
            self.core.publisher.report(EventKind::Ordering { why });
        }
        self.show_now(view::Action::Ordering, order_reason(why));
        let outcome = self
            .core
            .meanwhile(attempt::run(Arc::clone(&self.orders), before, permit))
            .await;
        // An operator who asks gets a report of the limit again.
        let limited = self.progress.reports.limited.take().filter(|_| !asked);
        if !matches!(outcome, RoundOutcome::Busy) {
            (
                self.progress.busy_since,
                self.progress.reports.busy,
                self.progress.reports.waiting,
            ) = (None, false, false);
        }
        match outcome {
            RoundOutcome::Issued(chain) => {
                self.core.publisher.report(EventKind::Issued {
                    ca: self.orders.ca_name(chain.ca),
                    order: chain.issued.order.clone(),
                    took: chain.began.elapsed(),
                });
                self.progress.reports.holding = false;
                for passed in &chain.passed_over {
                    self.report_passed_over(passed, &self.orders.ca_name(chain.ca));
                }
                self.accept(chain).await;
            }
            RoundOutcome::Elsewhere => self.core.look_again().await,
            RoundOutcome::Busy => self.note_busy(),
            RoundOutcome::Limited(wait) => self.note_limit(wait, limited.as_ref()),
            RoundOutcome::Failed(error) => {
                let pause = self.orders.rules.first_retry.clamp(MIN_ROUND_INTERVAL, MAX_WAIT);
                self.progress.not_before = Some(Instant::now() + pause);
                self.fail_round(error).await;
            }
        }
    }

    /// Waits for a permit, before anything is noted: a certificate that only waits has not ordered.
    async fn wait_for_permit(&mut self) -> acme::OrderPermit {
        const WAITS: &str = "it waits for its turn: as many orders are under way as `max_orders` allows";
        let mut permit = self.orders.issuer.order_permit();
        if let Some(permit) = (&mut permit).now_or_never() {
            return permit;
        }
        self.show_now(view::Action::Order, WAITS);
        self.core.meanwhile(permit).await
    }

    /// Notes that another process is ordering. One that takes longer than a round may take hangs.
    fn note_busy(&mut self) {
        self.progress.not_before = Some(Instant::now() + BUSY_RETRY);
        if !std::mem::replace(&mut self.progress.reports.waiting, true) {
            self.core.publisher.report(EventKind::Waiting);
        }
        let since = *self.progress.busy_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.orders.max_round()
            && !std::mem::replace(&mut self.progress.reports.busy, true)
        {
            let text = format!(
                "another process that shares `state_dir` has been ordering it for {} minutes",
                self.orders.max_round().as_secs() / 60
            );
            let remedy = "see what that process says, and end it if it hangs";
            let error = IssueError::new(IssueFault::State, text, remedy);
            self.core
                .report_failing(error, later((self.core.options.now)(), BUSY_RETRY), None);
        }
    }

    fn round_facts(&self, by_hand: bool) -> RoundFacts {
        let replaces = self.core.serving().and_then(|serving| {
            let ca = self.ca_of(serving.fingerprint())?;
            Some((ca, leaf_of(serving.bundle())?))
        });
        let versions = &self.core.kept.versions;
        RoundFacts {
            replaces,
            fingerprints: versions.iter().map(KeptVersion::fingerprint).collect(),
            orders: versions
                .iter()
                .filter_map(|version| version.facts.order.clone())
                .collect(),
            issued_at: self.progress.issued_at,
            by_hand,
        }
    }

    async fn ask_advice(&mut self, ca: usize) {
        let serving = self.core.serving();
        let leaf = serving.as_ref().and_then(|serving| leaf_of(serving.bundle()));
        let (Some(serving), Some(leaf)) = (serving, leaf) else {
            // A reload has removed it, and is about to abort this task.
            return;
        };
        let fingerprint = serving.fingerprint();
        let answer = self
            .core
            .meanwhile(self.orders.issuer.renewal_info(ca, &leaf))
            .await;
        let (now, before) = (self.orders.ledger.now(), self.progress.advice.take());
        let random = &mut || (self.orders.random)();
        self.progress.advice = Some(match answer {
            Ok(info) => {
                self.progress.reports.unadvised = None;
                Advice::new(fingerprint, info.as_ref(), before.as_ref(), now, random)
            }
            Err(error) => {
                // Reported once until the CA answers again: it is asked at least twice a day.
                if self.progress.reports.unadvised.replace(error.class) != Some(error.class) {
                    let error = error.clone();
                    self.core.publisher.report(EventKind::NoAdvice { error });
                }
                Advice::unknown(fingerprint, error.limit(), before.as_ref(), now, random)
            }
        });
    }

    /// Notes the result of a probe; `None`: there was none.
    fn note_probe(&mut self, good: Option<bool>) {
        let was_bad = self.progress.probe.is_some_and(|probe| probe.was_bad);
        self.progress.probe = Some(Probe {
            at: self.orders.ledger.now().monotonic,
            good: good == Some(true),
            was_bad: was_bad || good == Some(false),
            jitter: Jitter::new(&mut || (self.orders.random)()),
        });
    }

    /// Waits for the next step, for a renewal asked by an operator, for a command that makes another version serve, or for other anchors in
    /// force.
    async fn rest(&mut self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_WAIT);
        // A wish that waits for a `Retry-After` is known already.
        let heard = self.core.renewal_requested;
        let fingerprint = |serving: Option<Arc<Serving>>| serving.map(|serving| serving.fingerprint());
        let served = fingerprint(self.core.serving());
        while (heard || !self.core.renewal_requested) && fingerprint(self.core.serving()) == served {
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = self.core.trust_changes.changed(), if self.core.config.trust.is_some() => {
                    self.anchors_changed = true;
                    return;
                }
                Some(command) = self.core.channels.commands.recv() => self.core.carry_out(command).await,
            }
        }
    }
}
