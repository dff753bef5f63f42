//! The published limits of the CAs, and the check that one more order stays within them.
//!
//! Let's Encrypt gives back one by one what was used of a limit (<https://letsencrypt.org/docs/rate-limits/>); where
//! other CAs publish only a number and a time, a window slides. Orders that are not kept any more count as if they
//! had used up the limit. A CA that is not named here publishes nothing; it reports its limits with a `Retry-After`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Order;
use super::history::{History, Kind, NameSet, Placed, Stamps, Times};
use crate::config::Ca;
use crate::schedule::{MonotonicTime, Now};

const HOUR: Duration = Duration::from_secs(60 * 60);
const THREE_HOURS: Duration = Duration::from_secs(3 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The things that a CA counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Orders of an account.
    Orders,
    /// Certificates for names under one registered domain.
    RegisteredDomain,
    /// Certificates for exactly the same names.
    SameNames,
    /// Validations of a name that failed.
    FailedValidations,
    /// Accounts that are made from one address.
    Accounts,
}

/// A limit that a CA publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The things that are counted.
    pub counted: Counted,
    /// Number that is allowed at once…
    pub max: usize,
    /// … all of which come back within this time.
    pub window: Duration,
    /// The used ones come back one by one; else each comes back after the window.
    refills: bool,
    /// Orders that the CA does not count.
    exempt: &'static [Kind],
}

/// Makes a limit whose uses come back one by one.
const fn published(counted: Counted, max: usize, window: Duration, exempt: &'static [Kind]) -> Published {
    Published {
        counted,
        max,
        window,
        refills: true,
        exempt,
    }
}

/// Exempt are orders that go on: they were counted when they were placed.
const ONLY_RESUMED: &[Kind] = &[Kind::Resumed];

/// Exempt are also orders that name the certificate that they replace (RFC 9773 §5): Let's Encrypt counts them
/// nowhere. (Failed validations are counted here all the same.)
const NOT_REPLACING: &[Kind] = &[Kind::Resumed, Kind::Replacing];

/// Exempt are also renewals: another certificate for the same names counts only as a duplicate.
const NOT_RENEWING: &[Kind] = &[Kind::Resumed, Kind::Replacing, Kind::Renewal];

/// Let's Encrypt: <https://letsencrypt.org/docs/rate-limits/>
const LETS_ENCRYPT: &[Published] = &[
    published(Counted::Orders, 300, THREE_HOURS, NOT_RENEWING),
    published(Counted::RegisteredDomain, 50, WEEK, NOT_RENEWING),
    published(Counted::SameNames, 5, WEEK, NOT_REPLACING),
    published(Counted::FailedValidations, 5, HOUR, &[]),
    published(Counted::Accounts, 10, THREE_HOURS, &[]),
];

/// Let's Encrypt, staging: <https://letsencrypt.org/docs/staging-environment/>
const LETS_ENCRYPT_STAGING: &[Published] = &[
    published(Counted::Orders, 1_500, THREE_HOURS, NOT_RENEWING),
    published(Counted::RegisteredDomain, 30_000, WEEK, NOT_RENEWING),
    published(Counted::SameNames, 30_000, WEEK, NOT_REPLACING),
    published(Counted::FailedValidations, 200, HOUR, &[]),
    published(Counted::Accounts, 50, THREE_HOURS, &[]),
];

/// Google: the default quota of a project. <https://cloud.google.com/certificate-manager/docs/quotas>
const GOOGLE: &[Published] = &[Published {
    refills: false,
    ..published(Counted::Orders, 100, HOUR, ONLY_RESUMED)
}];

/// The limits of a CA, by the URL of its directory.
pub(crate) fn of(directory: &str) -> &'static [Published] {
    let host = directory
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', ':']).next())
        .unwrap_or_default();
    match host {
        "acme-v02.api.letsencrypt.org" => LETS_ENCRYPT,
        "acme-staging-v02.api.letsencrypt.org" => LETS_ENCRYPT_STAGING,
        "dv.acme-v02.api.pki.goog" | "dv.acme-v02.test-api.pki.goog" => GOOGLE,
        // ZeroSSL publishes none for ACME; of others nothing is known.
        _ => &[],
    }
}

/// Time for which the orders that these limits of a CA count must be kept.
pub(super) fn memory(directory: &str, counts: impl Fn(&Published) -> bool) -> Duration {
    let limits = of(directory).iter().filter(|limit| counts(limit));
    limits.map(Published::memory).max().unwrap_or_default()
}

/// Number of failed validations in a row at which a CA pauses a name. <https://letsencrypt.org/docs/rate-limits/>;
/// staging does so later.
pub(super) fn pause(directory: &str) -> Option<u32> {
    let limits = of(directory);
    (limits == LETS_ENCRYPT || limits == LETS_ENCRYPT_STAGING).then_some(1_152)
}

/// An order would break a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{ca}: {limit}; the next order is possible in {} s", .wait.as_secs())]
pub struct Wait {
    /// The CA's name.
    pub ca: String,
    /// The limit.
    pub limit: Limit,
    /// Time until the next order is possible.
    pub wait: Duration,
}

/// The limits that an order can exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The CA has said when to come back.
    RetryAfter,
    /// The CA has paused a name until a person unpauses it.
    Paused,
    /// A name has failed so often in a row that it is tried seldom: the CA would pause it.
    InARow {
        /// The name.
        name: String,
        /// Number of failures in a row.
        failures: u32,
    },
    /// A published limit is used up.
    Published {
        /// The limit.
        limit: Published,
        /// The domain or name that it is used up for; `None`: the account.
        subject: Option<String>,
    },
}

impl Wait {
    pub(super) fn new(ca: &str, limit: Limit, wait: Duration) -> Self {
        Self {
            ca: ca.to_owned(),
            limit,
            wait,
        }
    }

    fn published(ca: &Ca, limit: &Published, subject: Option<String>, wait: Duration) -> Self {
        let limit = *limit;
        Self::new(&ca.name, Limit::Published { limit, subject }, wait)
    }
}

/// Checks that one more order stays within all limits; the error is the longest of the waits.
pub(super) fn check(
    history: &History,
    order: &Order<'_>,
    set: &NameSet,
    times: Times<'_>,
) -> Result<(), Wait> {
    let kind = history.kind(order, &set.id);
    // The caller has the lease of these names: an order of theirs without an outcome has died, and goes on as this
    // order.
    let is_over = |placed: &Placed| placed.outcome.is_none() && placed.is_of(&set.id, order.key);
    let mut longest: Option<Wait> = None;
    for limit in of(&order.ca.directory) {
        if limit.exempt.contains(&kind) {
            continue;
        }
        for subject in limit.subjects(&set.names) {
            let counts = |placed: &&Placed| {
                placed.ca == order.ca.directory
                    && !(is_over(placed) && limit.counted != Counted::Orders)
                    && limit.counts(placed, times)
                    && limit.concerns(placed, &set.id, subject.as_deref(), history)
            };
            let taken = history.orders().iter().filter(counts);
            let taken = taken.map(|placed| placed.counted_at(times)).collect();
            let wait = until_free(taken, limit, times.now);
            let longer = wait.filter(|wait| longest.as_ref().is_none_or(|longest| longest.wait < *wait));
            if let Some(wait) = longer {
                longest = Some(Wait::published(order.ca, limit, subject, wait));
            }
        }
    }
    longest.map_or(Ok(()), Err)
}

/// Checks that one more account stays within the limit, after those that were made at these times.
pub(super) fn check_accounts(ca: &Ca, made: Vec<MonotonicTime>, now: Now) -> Result<(), Wait> {
    let is_it = |limit: &&Published| limit.counted == Counted::Accounts;
    let Some(limit) = of(&ca.directory).iter().find(is_it) else {
        return Ok(());
    };
    let wait = until_free(made, limit, now);
    wait.map_or(Ok(()), |wait| Err(Wait::published(ca, limit, None, wait)))
}

/// Largest use of a limit at one instant.
#[derive(Debug, Clone)]
pub(crate) struct Peak {
    pub(crate) limit: Published,
    /// The domain or the names; `None`: the account, or nothing at all.
    pub(crate) subject: Option<String>,
    pub(crate) count: usize,
    /// Instant of the first order that is counted.
    pub(crate) at: Option<MonotonicTime>,
}

/// Peaks of each limit of a CA that orders count towards. Failed validations are left out.
pub(crate) fn peaks(history: &History, directory: &str, stamps: &Stamps, now: Now) -> Vec<Peak> {
    of(directory)
        .iter()
        .filter(|limit| !matches!(limit.counted, Counted::FailedValidations | Counted::Accounts))
        .map(|limit| peak(history, directory, limit, Times { stamps, now }))
        .collect()
}

fn peak(history: &History, directory: &str, limit: &Published, times: Times<'_>) -> Peak {
    let mut taken: BTreeMap<Option<String>, Vec<MonotonicTime>> = BTreeMap::new();
    let counted = |placed: &&Placed| placed.ca == directory && limit.counts(placed, times);
    for placed in history.orders().iter().filter(counted) {
        let names = history.names(&placed.set);
        let subjects = match limit.counted {
            Counted::SameNames => vec![Some(names.join(", "))],
            _ => limit.subjects(names),
        };
        for subject in subjects {
            taken.entry(subject).or_default().push(placed.counted_at(times));
        }
    }
    let mut peak = Peak {
        limit: *limit,
        subject: None,
        count: 0,
        at: None,
    };
    for (subject, instants) in taken {
        let (count, at) = limit.most_used(instants);
        if count > peak.count {
            peak = Peak {
                limit: *limit,
                subject,
                count,
                at,
            };
        }
    }
    peak
}

/// Time until one more is allowed after these; `None`: it is allowed now.
fn until_free(mut taken: Vec<MonotonicTime>, limit: &Published, now: Now) -> Option<Duration> {
    let before = |MonotonicTime(at): MonotonicTime, by| MonotonicTime(at.saturating_sub(by));
    let remembered = before(now.monotonic, limit.memory());
    taken.retain(|at| *at >= remembered);
    taken.sort_unstable();
    let free = match limit.refill() {
        Some(one) => {
            // All may have been used before the time that is kept: then the limit was full again at this instant.
            let back = before(now.monotonic, limit.memory().saturating_sub(limit.window));
            let full = taken.into_iter().fold(back, |full, at| {
                full.max(at).after(one).min(at.after(limit.window))
            });
            before(full.after(one), limit.window)
        }
        None => {
            let last_to_leave = taken.len().checked_sub(limit.max)?;
            taken.get(last_to_leave)?.after(limit.window)
        }
    };
    free.0.checked_sub(now.monotonic.0).filter(|wait| !wait.is_zero())
}

impl Published {
    /// Time in which one use comes back, if they come back one by one.
    fn refill(&self) -> Option<Duration> {
        let max = u32::try_from(self.max).ok().filter(|_| self.refills)?;
        self.window.checked_div(max)
    }

    /// Time for which uses must be kept. Within twice the window all of them come back if nothing else is used;
    /// orders of earlier versions, which kept within a sliding window, need no more than that.
    fn memory(&self) -> Duration {
        match self.refills {
            true => self.window.saturating_mul(2),
            false => self.window,
        }
    }

    /// Largest number of these that are in use at once, and the first of them.
    fn most_used(&self, mut times: Vec<MonotonicTime>) -> (usize, Option<MonotonicTime>) {
        times.sort_unstable();
        let mut most = (0, None);
        let (mut full, mut since) = (MonotonicTime(Duration::ZERO), None);
        for (index, at) in times.iter().enumerate() {
            let (used, first) = match self.refill() {
                Some(one) => {
                    if full <= *at {
                        (full, since) = (*at, Some(*at));
                    }
                    full = full.after(one);
                    let out = full.0.saturating_sub(at.0).as_nanos();
                    let used = out.div_ceil(one.as_nanos().max(1));
                    (usize::try_from(used).unwrap_or(usize::MAX), since)
                }
                None => {
                    let end = times.partition_point(|other| *other < at.after(self.window));
                    (end - index, Some(*at))
                }
            };
            if used > most.0 {
                most = (used, first);
            }
        }
        most
    }

    /// The subjects that are counted separately: domains, names, or (`None`) everything together.
    fn subjects(&self, names: &[String]) -> Vec<Option<String>> {
        let mut subjects: Vec<_> = match self.counted {
            Counted::Orders | Counted::SameNames | Counted::Accounts => vec![None],
            Counted::RegisteredDomain => names.iter().map(|name| Some(registered_domain(name))).collect(),
            Counted::FailedValidations => names.iter().cloned().map(Some).collect(),
        };
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    pub(super) fn counts(&self, placed: &Placed, times: Times<'_>) -> bool {
        match self.counted {
            Counted::Orders => !self.exempt.contains(&placed.kind) && placed.was_placed(),
            // An order that went on after a failure was counted nowhere else.
            Counted::RegisteredDomain | Counted::SameNames => {
                (placed.was_issued() || placed.is_under_way(times))
                    && (placed.kind == Kind::Resumed || !self.exempt.contains(&placed.kind))
            }
            Counted::FailedValidations => placed.was_validated_in_vain() || placed.is_under_way(times),
            Counted::Accounts => false,
        }
    }

    fn concerns(&self, placed: &Placed, set: &str, subject: Option<&str>, history: &History) -> bool {
        let Some(subject) = subject else {
            return self.counted == Counted::Orders || placed.set == set;
        };
        let names = history.names(&placed.set);
        match self.counted {
            Counted::RegisteredDomain => names.iter().any(|name| registered_domain(name) == subject),
            _ => names.iter().any(|name| name == subject),
        }
    }

    /// Text for people, the same for the same limit.
    pub(crate) fn per(&self) -> &'static str {
        match self.counted {
            Counted::Orders => "orders per account",
            Counted::RegisteredDomain => "certificates per registered domain",
            Counted::SameNames => "certificates for the same names",
            Counted::FailedValidations => "failed validations per name",
            Counted::Accounts => "new accounts per address",
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.window.as_secs() / HOUR.as_secs();
        write!(f, "{} {} in ", self.max, self.per())?;
        match hours {
            1 => f.write_str("an hour"),
            48.. => write!(f, "{} days", hours / 24),
            _ => write!(f, "{hours} hours"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetryAfter => f.write_str("it said to come back later"),
            Self::Paused => f.write_str("it has paused a name until a person unpauses it"),
            Self::InARow { name, failures } => write!(
                f,
                "{name} has failed {failures} times in a row, and is tried seldom lest the CA pause it"
            ),
            Self::Published { limit, subject } => {
                write!(f, "its limit of {limit}")?;
                if let Some(subject) = subject {
                    write!(f, ", for {subject},")?;
                }
                f.write_str(" is used up")
            }
        }
    }
}

/// Second labels under which the registries of countries sell third ones.
const SOLD_BELOW: [&str; 13] = [
    "ac", "co", "com", "edu", "gob", "gov", "gv", "ne", "net", "nom", "or", "org", "go",
];

/// The registered domain of a name, as a CA would take it: the last two labels, or three where a country sells names
/// below `co.` and its like. The CA itself uses the public suffix list; where that has more suffixes, this counts
/// names together that the CA keeps apart, and so waits rather too long than too short. An IPv6 address stands for
/// its /64, as at Let's Encrypt.
fn registered_domain(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(_)) => return name.to_owned(),
        Ok(IpAddr::V6(address)) => {
            let network = u128::from(address) >> 64 << 64;
            return format!("{}/64", std::net::Ipv6Addr::from(network));
        }
        Err(_) => {}
    }
    let labels: Vec<&str> = name.split('.').rev().collect();
    let wanted = match labels.as_slice() {
        [country, second, _, ..] if country.len() == 2 && SOLD_BELOW.contains(second) => 3,
        _ => 2,
    };
    let taken: Vec<&str> = labels.into_iter().take(wanted).collect();
    taken.into_iter().rev().collect::<Vec<_>>().join(".")
}
