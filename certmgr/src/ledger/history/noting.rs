//! Changes of the history: an order that is about to be placed, and its outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use certstore::UnixTime;

use super::{
    CAUTION, Class, History, Hold, Issuance, Kind, LATELY, NameSet, Noted, OrderOutcome, Placed, Run, Stamps,
    Standing, Times, hold_on, is_below, name_at,
};
use crate::config::{Ca, KeyType};
use crate::error::{IssueError, IssueFault};
use crate::ledger::in_a_row::InARow;
use crate::ledger::{Counted, Order, Wait, limits};
use crate::schedule::{Jitter, Now};

/// Largest number of orders that are kept; the oldest are removed first, those that brought a certificate last.
const MAX_ORDERS: usize = 4096;

/// Time after its note within which a CA has counted an account: two calls of half a minute, and some more.
const REGISTERED_WITHIN: Duration = Duration::from_secs(2 * 60);

/// Time after which a name set without a new note is removed.
const FORGOTTEN: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Longest `Retry-After` that is accepted: a longer one is a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl History {
    /// Notes that an order is about to be placed. Until its outcome is noted it counts as interrupted.
    pub(crate) fn intend(
        &mut self,
        order: &Order<'_>,
        jitter: Jitter,
        stamps: &mut Stamps,
        now: Now,
    ) -> Noted {
        self.prune(stamps, now);
        let NameSet { id: set, names } = NameSet::of(order.domains);
        let at = stamps.note(now);
        for name in &names {
            let name = name_at(&order.ca.directory, name);
            self.in_a_row
                .entry(name)
                .or_insert_with(|| InARow::begun(at))
                .one_more(at);
        }
        self.sets.entry(set.clone()).or_insert(names);
        let kind = self.kind(order, &set);
        let standing = self.standing_mut(&set, order.key, &order.ca.directory);
        standing.failing = Some(Run {
            attempts: standing.failing.map_or(1, |run| run.attempts.saturating_add(1)),
            since: standing.failing.map_or(at, |run| run.since),
            last: at,
            class: None,
            hint: 0,
            draw: jitter.thousandths(),
        });
        self.place(order, set, at, kind, None)
    }

    fn place(
        &mut self,
        order: &Order<'_>,
        set: String,
        at: u64,
        kind: Kind,
        outcome: Option<OrderOutcome>,
    ) -> Noted {
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        self.orders.push(Placed {
            id,
            at,
            set,
            key: order.key.name().to_owned(),
            ca: order.ca.directory.clone(),
            kind,
            outcome,
        });
        Noted(id)
    }

    /// Notes that an account is about to be made, if the CA would allow it.
    pub(crate) fn register(&mut self, ca: &Ca, stamps: &mut Stamps, now: Now) -> Result<(), Wait> {
        let times = Times { stamps, now };
        let made = self.accounts.get(&ca.directory).into_iter().flatten();
        let counted = made.map(|at| times.of(*at).after(REGISTERED_WITHIN).min(now.monotonic));
        limits::check_accounts(ca, counted.collect(), now)?;
        self.prune(stamps, now);
        let at = stamps.note(now);
        self.accounts.entry(ca.directory.clone()).or_default().push(at);
        Ok(())
    }

    /// Removes the account that was noted last: it has not been made.
    pub(crate) fn unregister(&mut self, ca: &Ca) {
        if let Some(made) = self.accounts.get_mut(&ca.directory) {
            made.pop();
        }
    }

    /// True if an attempt is noted as an order of this kind.
    pub(crate) fn is_noted_as(&self, noted: Noted, order: &Order<'_>) -> bool {
        let kind = self.kind(order, &NameSet::of(order.domains).id);
        self.orders
            .iter()
            .any(|placed| placed.id == noted.0 && placed.kind == kind)
    }

    /// Notes an attempt as an order of this kind, if the limits allow that beside all other orders.
    pub(crate) fn note_as(
        &mut self,
        noted: Noted,
        order: &Order<'_>,
        stamps: &Stamps,
        now: Now,
    ) -> Result<(), Wait> {
        let Some(index) = self.orders.iter().position(|placed| placed.id == noted.0) else {
            return Ok(());
        };
        let placed = self.orders.remove(index);
        self.may_order(order, stamps, now)?;
        let kind = self.kind(order, &placed.set);
        self.orders.insert(index, Placed { kind, ..placed });
        Ok(())
    }

    /// Notes an order to come as if it had succeeded.
    pub(crate) fn foresee(&mut self, order: &Order<'_>, stamps: &mut Stamps, then: Now) {
        let NameSet { id: set, names } = NameSet::of(order.domains);
        self.sets.entry(set.clone()).or_insert(names);
        let at = stamps.note(then);
        let kind = self.kind(order, &set);
        self.standing_mut(&set, order.key, &order.ca.directory).issued = Some(Issuance {
            at,
            not_before: Some(at),
        });
        self.place(order, set, at, kind, Some(OrderOutcome::Issued));
    }

    /// Notes that a certificate came and may serve.
    pub(crate) fn issued(&mut self, noted: Noted, not_before: UnixTime, stamps: &mut Stamps, now: Now) {
        let at = stamps.note(now);
        let Some((set, key, ca)) = self.close(noted, OrderOutcome::Issued, at) else {
            return;
        };
        for standing in self
            .standings
            .iter_mut()
            .filter(|one| one.set == set && one.key == key)
        {
            standing.failing = None;
            if standing.ca == ca {
                standing.hold = None;
                standing.issued = Some(Issuance {
                    at,
                    not_before: Some(not_before.as_secs()),
                });
            }
        }
    }

    /// Notes that the order failed which this attempt was to go on with; the attempt goes on with another order.
    pub(crate) fn has_failed(&mut self, noted: Noted, error: &IssueError, stamps: &mut Stamps, now: Now) {
        let Some(placed) = self.orders.iter().find(|placed| placed.id == noted.0) else {
            return;
        };
        let id = self.next_id;
        let gone = Placed { id, ..placed.clone() };
        self.next_id = self.next_id.saturating_add(1);
        self.orders.push(gone);
        self.failed(Noted(id), error, stamps, now);
    }

    /// Notes that no certificate came, or one that may not serve.
    pub(crate) fn failed(&mut self, noted: Noted, error: &IssueError, stamps: &mut Stamps, now: Now) {
        let class = Class(error.class);
        let at = stamps.note(now);
        let Some((set, key, ca)) = self.close(noted, OrderOutcome::Failed(class), at) else {
            return;
        };
        let hold = error.limit().map(|wait| Hold {
            at,
            // Rounded up: the wait is never shortened.
            seconds: wait.min(MAX_RETRY_AFTER).as_secs().saturating_add(1),
        });
        for standing in self
            .standings
            .iter_mut()
            .filter(|one| one.set == set && one.key == key && one.ca == ca)
        {
            if let Some(run) = &mut standing.failing {
                run.class = Some(class);
                run.last = at;
                run.hint = error.hint().map_or(0, |wait| wait.as_secs());
            }
            if error.class == IssueFault::Certificate {
                standing.issued = Some(Issuance { at, not_before: None });
            }
            standing.hold = hold.filter(|_| !error.is_of_account()).or(standing.hold);
        }
        let Some(hold) = hold else {
            return;
        };
        let key = match error.limited_name() {
            _ if error.is_of_account() => ca,
            Some(name) if self.names(&set).iter().any(|own| is_below(own, name)) => hold_on(&ca, name),
            _ => return,
        };
        let times = Times { stamps, now };
        let longer = |one: &Hold| one.until(times) > hold.until(times);
        if !self.holds.get(&key).is_some_and(longer) {
            self.holds.insert(key, hold);
        }
    }

    fn close(&mut self, noted: Noted, outcome: OrderOutcome, at: u64) -> Option<(String, String, String)> {
        let placed = self.orders.iter_mut().find(|placed| placed.id == noted.0)?;
        (placed.outcome, placed.at) = (Some(outcome), at);
        let (is_issued, failed) = (placed.was_issued(), placed.was_validated_in_vain());
        let (set, key, ca) = (placed.set.clone(), placed.key.clone(), placed.ca.clone());
        let names = self.sets.get(&set).into_iter().flatten();
        // The count of a name that was unpaused begins anew. Of several names it is not known which one was paused.
        let is_paused =
            outcome == OrderOutcome::Failed(Class(IssueFault::Paused)) && names.clone().count() == 1;
        let counts_anew = is_issued || is_paused;
        for name in names {
            let name = name_at(&ca, name);
            match self.in_a_row.get_mut(&name) {
                Some(one) if !counts_anew && (failed || one.count > 1) => {
                    one.count -= u32::from(!failed);
                }
                _ => {
                    self.in_a_row.remove(&name);
                }
            }
        }
        Some((set, key, ca))
    }

    fn standing_mut(&mut self, set: &str, key: KeyType, ca: &str) -> &mut Standing {
        let is_it = |one: &Standing| one.is_of(set, key) && one.ca == ca;
        let index = match self.standings.iter().position(is_it) {
            Some(index) => index,
            None => {
                self.standings.push(Standing {
                    set: set.to_owned(),
                    key: key.name().to_owned(),
                    ca: ca.to_owned(),
                    issued: None,
                    failing: None,
                    hold: None,
                });
                self.standings.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.standings[index]
    }

    /// Removes the notes that no rule needs any more.
    fn prune(&mut self, stamps: &Stamps, now: Now) {
        let times = Times { stamps, now };
        let is_past = |at: u64, after: Duration| times.is_past(at, after);
        self.orders.retain(|placed| {
            let brought_nothing = placed.outcome.is_some() && !placed.was_issued();
            let least = if brought_nothing { Duration::ZERO } else { LATELY };
            let counted = limits::memory(&placed.ca, |limit| limit.counts(placed, times));
            placed.counted_at(times).after(least.max(counted)) >= now.monotonic
        });
        // Issued certificates are counted longest by the CAs.
        let surplus = (self.orders.len() + 1).saturating_sub(MAX_ORDERS);
        let failed = self.orders.iter().filter(|placed| !placed.was_issued()).count();
        let mut failed_surplus = surplus.min(failed);
        let mut issued_surplus = surplus - failed_surplus;
        self.orders.retain(|placed| {
            let left = match placed.was_issued() {
                true => &mut issued_surplus,
                false => &mut failed_surplus,
            };
            let goes = *left > 0;
            *left = left.saturating_sub(1);
            !goes
        });
        self.holds
            .retain(|_, hold| !is_past(hold.at, Duration::from_secs(hold.seconds).saturating_add(CAUTION)));
        self.lost = self.lost.filter(|at| !is_past(*at, LATELY));
        self.accounts.retain(|ca, made| {
            let memory = limits::memory(ca, |limit| limit.counted == Counted::Accounts);
            made.retain(|at| !is_past(*at, memory.saturating_add(REGISTERED_WITHIN)));
            !made.is_empty()
        });
        self.in_a_row.retain(|_, one| !is_past(one.last, FORGOTTEN));
        self.standings.retain(|one| {
            let issued = one.issued.map(|issued| issued.at);
            let failed = one.failing.map(|run| run.last);
            issued.into_iter().chain(failed).any(|at| !is_past(at, FORGOTTEN))
        });
        let needed: BTreeSet<_> = self
            .standings
            .iter()
            .map(|one| &one.set)
            .chain(self.orders.iter().map(|placed| &placed.set))
            .collect();
        self.sets.retain(|set, _| needed.contains(set));
    }
}
