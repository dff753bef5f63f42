//! Contents of the ledger and their changes (`noting.rs`): no I/O, no clock.

mod noting;
mod stamps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::digest;
use certstore::{Name, UnixTime};
use serde::{Deserialize, Serialize};

use super::in_a_row::InARow;
use super::limits::{self, Limit, Wait};
use super::{Order, OrderKind};
use crate::config::{Ca, KeyType};
use crate::error::IssueFault;
use crate::schedule::{FailureStreak, Jitter, LastIssued, MonotonicTime, Now, OrderRecord};
use crate::store::{DocumentError, decode};

pub(crate) use stamps::Stamps;
pub(super) use stamps::Times;

/// The format that is written. A newer one is refused. Format 1 had another name for the CA, which is read as well.
const FORMAT: u32 = 2;

/// Time for which a certificate counts as issued lately.
const LATELY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Time for which an attempt without an outcome counts as in progress; after it, its process has died in the middle
/// of it.
const UNDER_WAY: Duration = Duration::from_secs(2 * 60 * 60);

/// Time after a limit on more than one name set for which orders go one at a time.
const CAUTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Time after which a CA that has paused a name is asked again: nothing reports that a person has unpaused it.
const PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Wait of an order for the answer to the order before it.
const TURN: Duration = Duration::from_secs(15);

/// The whole ledger.
///
/// Its methods decide and change without I/O and without a clock; the caller gives the time, and writes a changed
/// history before it acts on the change. Instants are seconds of the wall clock at which they were noted; [`Stamps`] has
/// them on the monotonic clock, and must have learned the history first. An outcome of an attempt that is not in the history
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    format: u32,
    next_id: u64,
    /// An earlier ledger was lost at this instant: orders that are not noted may have been placed just then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    /// The names of each set, by the set's id.
    sets: BTreeMap<String, Vec<String>>,
    standings: Vec<Standing>,
    orders: Vec<Placed>,
    /// Limits that CAs have reported: on all orders of our account, by the CA; on all below a domain, by [`hold_on`].
    holds: BTreeMap<String, Hold>,
    /// Instants at which accounts were made, by the CA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    accounts: BTreeMap<String, Vec<u64>>,
    /// Names that have failed since they last succeeded, by [`name_at`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    in_a_row: BTreeMap<String, InARow>,
}

/// State of a name set with a key type at a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    set: String,
    key: String,
    #[serde(alias = "authority")]
    ca: String,
    issued: Option<Issuance>,
    failing: Option<Run>,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Issuance {
    at: u64,
    /// `None`: the certificate could not serve.
    not_before: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    attempts: u32,
    since: u64,
    last: u64,
    /// `None`: interrupted, or still in progress.
    class: Option<Class>,
    /// Seconds for which a server that answered in place of the CA asks us to wait.
    #[serde(default, skip_serializing_if = "is_zero")]
    hint: u64,
    draw: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    at: u64,
    seconds: u64,
}

/// An attempt, as the limits count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    id: u64,
    /// Instant at which the attempt had its outcome; until then, at which it was noted.
    at: u64,
    pub(super) set: String,
    key: String,
    #[serde(alias = "authority")]
    pub(super) ca: String,
    pub(super) kind: Kind,
    pub(super) outcome: Option<OrderOutcome>,
}

/// Kind of an order, as in [`OrderKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    New,
    /// A name set that this CA has issued for before.
    Renewal,
    Replacing,
    Resumed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderOutcome {
    Issued,
    Failed(Class),
}

/// [`IssueFault`], as it is written. An unknown one is read as [`IssueFault::Refused`], the vaguest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub(super) struct Class(pub(super) IssueFault);

impl From<Class> for &'static str {
    fn from(Class(fault): Class) -> Self {
        fault.as_str()
    }
}

impl From<String> for Class {
    fn from(label: String) -> Self {
        let known = IssueFault::ALL.into_iter().find(|fault| fault.as_str() == label);
        Self(known.unwrap_or(IssueFault::Refused))
    }
}

/// The id of a noted attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted(u64);

impl Hold {
    fn until(self, times: Times<'_>) -> MonotonicTime {
        times.of(self.at).after(Duration::from_secs(self.seconds))
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            format: FORMAT,
            next_id: 1,
            lost: None,
            sets: BTreeMap::new(),
            standings: Vec::new(),
            orders: Vec::new(),
            holds: BTreeMap::new(),
            accounts: BTreeMap::new(),
            in_a_row: BTreeMap::new(),
        }
    }
}

impl History {
    /// Makes the history that takes the place of one that was lost.
    pub(super) fn after_loss(now: Now) -> Self {
        Self {
            lost: Some(now.wall.as_secs()),
            ..Self::default()
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Ok(Self {
            format: FORMAT,
            ..decode(bytes, FORMAT)?
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // The history has strings and numbers only, which cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Returns the record of a name set over these CAs.
    pub(crate) fn record(
        &self,
        domains: &[Name],
        key: KeyType,
        cas: &[Ca],
        stamps: &Stamps,
        now: Now,
    ) -> OrderRecord {
        let (set, times) = (NameSet::of(domains), Times { stamps, now });
        let standing = |ca: &Ca| self.standing(&set.id, key, &ca.directory);
        let own = self
            .standings
            .iter()
            .filter(|standing| standing.is_of(&set.id, key));
        let known = own.filter_map(|standing| standing.issued);
        let lost = self.lost.map(|at| Issuance { at, not_before: None });
        let last = known.chain(lost).max_by_key(|issued| times.of(issued.at));
        let holds = cas.iter().map(|ca| self.hold(&set, key, &ca.directory, times));
        let failing = failing(cas.iter().map(standing), times);
        let is_untried = |ca: &&Ca| standing(ca).is_none_or(|one| one.failing.is_none());
        let untried = cas.iter().filter(|ca| failing.is_some() && is_untried(ca));
        let untried = untried.map(|ca| {
            let order = Order {
                domains,
                key,
                ca,
                kind: OrderKind::New,
                by_hand: false,
            };
            let wait = self.check(&order, &set, times).err();
            now.monotonic.after(wait.map_or(Duration::ZERO, |wait| wait.wait))
        });
        OrderRecord {
            untried: untried.min(),
            last_issued: last.map(|issued| LastIssued {
                at: times.of(issued.at),
                not_before: issued.not_before.map(unix_time),
                lately: self.issued_lately(&set.id, key, times),
            }),
            failing,
            holds: holds.collect(),
        }
    }

    /// Checks that no limit forbids this order.
    pub(crate) fn may_order(&self, order: &Order<'_>, stamps: &Stamps, now: Now) -> Result<(), Wait> {
        self.check(order, &NameSet::of(order.domains), Times { stamps, now })
    }

    fn check(&self, order: &Order<'_>, set: &NameSet, times: Times<'_>) -> Result<(), Wait> {
        let ca = order.ca;
        let refused = |limit, wait| Err(Wait::new(&ca.name, limit, wait));
        let hold = self.hold(set, order.key, &ca.directory, times);
        if let Some(left) = hold.and_then(|until| times.left(until)) {
            return refused(Limit::RetryAfter, left);
        }
        if self.awaits_another(set, &ca.directory, times) {
            return refused(Limit::RetryAfter, TURN);
        }
        if !order.by_hand
            && let Some((limit, left)) = self.slowed_down(order, set, times)
        {
            return refused(limit, left);
        }
        limits::check(self, order, set, times)
    }

    /// Returns the limit for which an order is slowed down by our own choice: the CA would count it as a failure, or
    /// answer as it did the last time.
    fn slowed_down(&self, order: &Order<'_>, set: &NameSet, times: Times<'_>) -> Option<(Limit, Duration)> {
        let directory = &order.ca.directory;
        let standing = self.standing(&set.id, order.key, directory);
        let run = standing.and_then(|one| one.failing);
        let paused = run.filter(|run| run.class == Some(Class(IssueFault::Paused)));
        let paused =
            paused.and_then(|run| Some((Limit::Paused, times.left(times.of(run.last).after(PAUSE))?)));
        let in_a_row = set.names.iter().filter_map(|name| {
            limits::pause(directory)?;
            let one = self.in_a_row.get(&name_at(directory, name))?;
            let limit = Limit::InARow {
                name: name.clone(),
                failures: one.count,
            };
            Some((limit, one.rest(times)?))
        });
        paused.into_iter().chain(in_a_row).max_by_key(|(_, left)| *left)
    }

    /// Warning for people, once a name of the order is close to being paused.
    pub(crate) fn warning(&self, order: &Order<'_>) -> Option<String> {
        let directory = &order.ca.directory;
        let pause = limits::pause(directory)?;
        let set = NameSet::of(order.domains);
        set.names
            .iter()
            .find_map(|name| self.in_a_row.get(&name_at(directory, name))?.warning(name, pause))
    }

    pub(super) fn orders(&self) -> &[Placed] {
        &self.orders
    }

    pub(super) fn names(&self, set: &str) -> &[String] {
        self.sets.get(set).map_or(&[], Vec::as_slice)
    }

    /// Kind of an order in the terms of the limits of CAs, which favour renewals. RFC 8555 has no term for these.
    pub(super) fn kind(&self, order: &Order<'_>, set: &str) -> Kind {
        let before = self
            .standings
            .iter()
            .any(|one| one.set == set && one.ca == order.ca.directory && one.issued.is_some());
        match order.kind {
            OrderKind::Resumed => Kind::Resumed,
            OrderKind::Replacing => Kind::Replacing,
            OrderKind::New if before => Kind::Renewal,
            OrderKind::New => Kind::New,
        }
    }

    fn standing(&self, set: &str, key: KeyType, ca: &str) -> Option<&Standing> {
        self.standings
            .iter()
            .find(|one| one.is_of(set, key) && one.ca == ca)
    }

    fn hold(&self, set: &NameSet, key: KeyType, ca: &str, times: Times<'_>) -> Option<MonotonicTime> {
        let own = self.standing(&set.id, key, ca).and_then(|one| one.hold);
        let shared = self.shared_holds(&set.names, ca).map(|(_, hold)| hold);
        own.into_iter().chain(shared).map(|hold| hold.until(times)).max()
    }

    /// Limits that are not on one name set alone, each with its domain; `None`: on the whole account.
    fn shared_holds<'a>(
        &'a self,
        names: &'a [String],
        ca: &'a str,
    ) -> impl Iterator<Item = (Option<&'a str>, Hold)> {
        let account = self.holds.get(ca).map(|hold| (None, *hold));
        let domains = names.iter().flat_map(|name| {
            std::iter::successors(Some(name.as_str()), |name| Some(name.split_once('.')?.1))
        });
        let on_domains = domains.filter_map(move |domain| {
            let hold = self.holds.get(&hold_on(ca, domain))?;
            Some((Some(domain), *hold))
        });
        account.into_iter().chain(on_domains)
    }

    /// True if another order must be answered first: for some time after a hold orders go one at a time, so that one
    /// alone learns if the limit is met again.
    fn awaits_another(&self, set: &NameSet, ca: &str, times: Times<'_>) -> bool {
        let another = |domain: Option<&str>| {
            self.orders.iter().any(|placed| {
                let names = self.names(&placed.set);
                placed.ca == ca
                    && placed.set != set.id
                    && placed.is_under_way(times)
                    && domain.is_none_or(|domain| names.iter().any(|name| is_below(name, domain)))
            })
        };
        self.shared_holds(&set.names, ca)
            .filter(|(_, hold)| times.left(hold.until(times).after(CAUTION)).is_some())
            .any(|(domain, _)| another(domain))
    }

    fn issued_lately(&self, set: &str, key: KeyType, times: Times<'_>) -> u32 {
        let is_late = |placed: &&Placed| {
            placed.is_of(set, key)
                && placed.was_issued()
                && times.left(times.of(placed.at).after(LATELY)).is_some()
        };
        u32::try_from(self.orders.iter().filter(is_late).count()).unwrap_or(u32::MAX)
    }

    /// Returns all noted instants.
    fn instants(&self) -> BTreeSet<u64> {
        let standings = self.standings.iter().flat_map(|one| {
            let run = one.failing.map(|run| [run.since, run.last]);
            let single = [one.issued.map(|issued| issued.at), one.hold.map(|hold| hold.at)];
            run.into_iter().flatten().chain(single.into_iter().flatten())
        });
        standings
            .chain(self.orders.iter().map(|placed| placed.at))
            .chain(self.holds.values().map(|hold| hold.at))
            .chain(self.accounts.values().flatten().copied())
            .chain(self.in_a_row.values().flat_map(|one| [one.since, one.last]))
            .chain(self.lost)
            .collect()
    }
}

impl Standing {
    fn is_of(&self, set: &str, key: KeyType) -> bool {
        self.set == set && self.key == key.name()
    }
}

impl Placed {
    pub(super) fn is_of(&self, set: &str, key: KeyType) -> bool {
        self.set == set && self.key == key.name()
    }

    /// Latest instant at which the CA has counted the attempt, as far as is known.
    pub(super) fn counted_at(&self, times: Times<'_>) -> MonotonicTime {
        let at = times.of(self.at);
        match self.outcome {
            Some(_) => at,
            None => at.after(UNDER_WAY).min(times.now.monotonic),
        }
    }

    /// True if the attempt may bring a certificate yet.
    pub(super) fn is_under_way(&self, times: Times<'_>) -> bool {
        self.outcome.is_none() && times.left(times.of(self.at).after(UNDER_WAY)).is_some()
    }

    /// True if the CA may have seen an order, as far as is known: our own disk may have failed before it, or after.
    pub(super) fn was_placed(&self) -> bool {
        use IssueFault::{Configuration, SelfCheck};
        !matches!(
            self.outcome,
            Some(OrderOutcome::Failed(Class(Configuration | SelfCheck)))
        )
    }

    /// True if the CA has seen that a name fails, as far as is known: it refuses some orders for a failed validation,
    /// too.
    pub(super) fn was_validated_in_vain(&self) -> bool {
        use IssueFault::{Challenge, Refused};
        matches!(
            self.outcome,
            Some(OrderOutcome::Failed(Class(Challenge | Refused)))
        )
    }

    /// True if the CA issued a certificate, also one that could not serve.
    pub(super) fn was_issued(&self) -> bool {
        match self.outcome {
            Some(OrderOutcome::Issued) => true,
            Some(OrderOutcome::Failed(Class(fault))) => fault == IssueFault::Certificate,
            None => false,
        }
    }
}

/// Failures of a name set over its CAs. One round asks one CA after the other: the largest number of attempts at any
/// CA is the number of rounds.
fn failing<'a>(
    standings: impl Iterator<Item = Option<&'a Standing>>,
    times: Times<'_>,
) -> Option<FailureStreak> {
    let runs: Vec<(usize, Run)> = standings
        .enumerate()
        .filter_map(|(ca, standing)| Some((ca, standing?.failing?)))
        .collect();
    let (_, last) = runs.iter().max_by_key(|(_, run)| times.of(run.last))?;
    let unreachable = runs
        .iter()
        .find(|(_, run)| run.class == Some(Class(IssueFault::Unreachable)))
        .map(|(ca, _)| *ca);
    Some(FailureStreak {
        attempts: runs.iter().map(|(_, run)| run.attempts).max()?,
        since: runs.iter().map(|(_, run)| times.of(run.since)).min()?,
        last: times.of(last.last),
        class: last.class.map(|Class(fault)| fault),
        unreachable,
        // Each round asks all CAs: the first one that is back may issue.
        hint: runs.iter().map(|(_, run)| Duration::from_secs(run.hint)).min()?,
        jitter: Jitter::from_thousandths(last.draw),
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

/// The lease under which a name set with a key type is ordered, for any certificate. It is no host name.
pub(crate) fn lease_of(domains: &[Name], key: KeyType) -> String {
    format!("/names/{}/{}", NameSet::of(domains).id, key.name())
}

/// The names of an order: sorted, without duplicates, in lower case.
pub(super) struct NameSet {
    pub(super) id: String,
    pub(super) names: Vec<String>,
}

impl NameSet {
    fn of(domains: &[Name]) -> Self {
        let names = domains.iter().map(|name| name.to_string().to_ascii_lowercase());
        let names: Vec<String> = names.collect::<BTreeSet<_>>().into_iter().collect();
        let digest = digest::digest(&digest::SHA256, names.join(",").as_bytes());
        let id = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
        Self {
            id: id.collect(),
            names,
        }
    }
}

/// Key of the hold on all names below a domain. No URL of a directory has a space.
fn hold_on(ca: &str, domain: &str) -> String {
    format!("{ca} {domain}")
}

/// Key of the count of failures of a name at a CA, with or without `*.`: as [`hold_on`].
fn name_at(ca: &str, name: &str) -> String {
    hold_on(ca, name.strip_prefix("*.").unwrap_or(name))
}

fn is_below(name: &str, domain: &str) -> bool {
    let above = name.strip_suffix(domain);
    above.is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
}

fn unix_time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
