//! Plan of the orders to come, and a check that they stay within the limits of the CAs: the schedule played forward
//! by a virtual clock. Nothing is ordered.
//!
//! The plan supposes that every order succeeds at the first CA of a certificate, that a new certificate lives as long
//! as the one that serves now, and that CAs give no advice beyond that given already.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use certstore::{Name, UnixTime};

use crate::config::{AcmeSource, Ca, CertificateConfig, Source};
use crate::ledger::{History, Order, OrderKind, Published, Stamps, peaks};
use crate::schedule::{self, Facts, LastIssued, Life, MonotonicTime, Now, OrderRecord, Rules, Why, later};
use crate::store::StoreError;
use crate::view::View;

/// Largest number of orders in a plan.
pub const MAX_PLANNED: usize = 10_000;

/// Expected life of a certificate if nothing else is known.
const USUAL_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Lives of profiles by their names at Let's Encrypt.
const LIVES_OF_PROFILES: [(&str, Duration); 2] = [
    ("shortlived", Duration::from_secs(160 * 60 * 60)),
    ("tlsserver", Duration::from_secs(45 * 24 * 60 * 60)),
];

/// The orders to come.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The orders, in order of time.
    pub orders: Vec<PlannedOrder>,
    /// The limits that the CAs of these orders publish. Failed validations are not planned.
    pub limits: Vec<PlannedLimit>,
    /// There would have been more than [`MAX_PLANNED`] orders.
    pub truncated: bool,
}

/// An order that will be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOrder {
    /// The certificate's name.
    pub name: String,
    /// The CA's name.
    pub ca: String,
    /// The instant at which the order is due.
    pub at: UnixTime,
    /// The reason of the order.
    pub why: Why,
    /// Expected life of the new certificate.
    pub expected_life: Duration,
}

/// A published limit, and the use that the plan makes of it together with the orders of late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLimit {
    /// The CA's name.
    pub ca: String,
    /// The limit.
    pub limit: Published,
    /// The domain or names for which most is used; `None`: the account.
    pub subject: Option<String>,
    /// Largest use of the limit at one instant.
    pub peak: usize,
    /// Instant of the first order of the peak; `None` if nothing counts towards the limit.
    pub peak_at: Option<UnixTime>,
    /// The limit allows the peak.
    pub inside: bool,
}

/// A certificate to plan for.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) domains: Vec<Name>,
    pub(crate) source: AcmeSource,
    pub(crate) serving: Option<Life>,
    /// The next order by the schedule of the certificate, and its reason: it takes the advice of the CA into account.
    pub(crate) next: Option<(UnixTime, Why)>,
}

/// Makes the candidate of a certificate; `None` if the certificate does not come from a CA.
pub(crate) fn candidate(config: &CertificateConfig, view: &View) -> Option<Candidate> {
    let Source::Acme(source) = &config.source else {
        return None;
    };
    let serving = view.serving.as_ref().map(|version| Life {
        fingerprint: version.fingerprint,
        not_before: version.not_before,
        not_after: version.not_after,
        ca: source
            .cas
            .iter()
            .position(|one| version.ca.as_ref() == Some(&one.directory)),
    });
    Some(Candidate {
        name: config.name.clone(),
        domains: config.domains.clone(),
        source: AcmeSource::clone(source),
        serving,
        next: view.acme.as_ref().and_then(|acme| acme.next_order),
    })
}

/// Plays the schedule forward until `horizon` from now.
pub(crate) fn look_ahead(
    candidates: &[Candidate],
    mut history: History,
    mut stamps: Stamps,
    now: Now,
    horizon: Duration,
) -> Plan {
    let mut forecasts: Vec<Forecast<'_>> = candidates.iter().filter_map(Forecast::new).collect();
    let mut due: BinaryHeap<Reverse<(UnixTime, usize)>> = forecasts
        .iter()
        .enumerate()
        .map(|(index, forecast)| Reverse((forecast.next(now).0, index)))
        .collect();
    let end = later(now.wall, horizon);
    let mut plan = Plan::default();
    while let Some(Reverse((at, index))) = due.pop() {
        if at > end {
            break;
        }
        if plan.orders.len() == MAX_PLANNED {
            plan.truncated = true;
            break;
        }
        let Some(forecast) = forecasts.get_mut(index) else {
            continue;
        };
        let then = now.later(at);
        plan.orders.push(forecast.planned(then));
        history.foresee(&forecast.order(), &mut stamps, then);
        forecast.renew(then);
        due.push(Reverse((forecast.next(then).0, index)));
    }
    plan.limits = limits(&forecasts, &history, &stamps, now);
    plan
}

/// One certificate of the plan, at a virtual instant.
struct Forecast<'a> {
    candidate: &'a Candidate,
    ca: &'a Ca,
    rules: Rules,
    expected_life: Duration,
    /// The certificate that serves at that instant.
    serving: Option<Life>,
    since: Option<MonotonicTime>,
    /// The first order, by the schedule of the certificate.
    first: Option<(UnixTime, Why)>,
}

impl<'a> Forecast<'a> {
    fn new(candidate: &'a Candidate) -> Option<Self> {
        let ca = candidate.source.cas.first()?;
        let from_it = candidate
            .serving
            .filter(|life| life.ca == Some(0) && !life.span().is_zero());
        let of_profile = LIVES_OF_PROFILES
            .iter()
            .find(|(profile, _)| ca.profile.as_deref() == Some(profile));
        let expected_life = match (from_it, of_profile) {
            (Some(life), _) => life.span(),
            (None, Some((_, life))) => *life,
            (None, None) => USUAL_LIFE,
        };
        Some(Self {
            candidate,
            ca,
            rules: Rules::from(&candidate.source),
            expected_life,
            serving: candidate.serving,
            since: None,
            first: candidate.next,
        })
    }

    /// Instant of the next order, and its reason.
    fn next(&self, now: Now) -> (UnixTime, Why) {
        if let Some((at, why)) = self.first {
            return (at.max(now.wall), why);
        }
        let issued = self.since.zip(self.serving);
        let known = Facts {
            serving: self.serving,
            advice: None,
            record: OrderRecord {
                last_issued: issued.map(|(at, life)| LastIssued {
                    at,
                    not_before: Some(life.not_before),
                    lately: 1,
                }),
                ..OrderRecord::default()
            },
            probe: None,
            requested: false,
            wanted: false,
            names_changed: false,
        };
        let next = schedule::next(&known, &self.rules, now);
        (next.order_at.max(now.wall), next.why)
    }

    fn planned(&self, then: Now) -> PlannedOrder {
        PlannedOrder {
            name: self.candidate.name.clone(),
            ca: self.ca.name.clone(),
            at: then.wall,
            why: self.next(then).1,
            expected_life: self.expected_life,
        }
    }

    fn order(&self) -> Order<'a> {
        Order {
            domains: &self.candidate.domains,
            key: self.candidate.source.key,
            ca: self.ca,
            kind: match self.serving.and_then(|life| life.ca) {
                Some(0) => OrderKind::Replacing,
                _ => OrderKind::New,
            },
            by_hand: false,
        }
    }

    fn renew(&mut self, then: Now) {
        let fingerprint = self.serving.map(|life| life.fingerprint);
        self.serving = Some(Life {
            // No advice is asked for, so any fingerprint will do.
            fingerprint: fingerprint.unwrap_or(certstore::Fingerprint::from_bytes([0; 32])),
            not_before: then.wall,
            not_after: later(then.wall, self.expected_life),
            ca: Some(0),
        });
        self.since = Some(then.monotonic);
        self.first = None;
    }
}

fn limits(forecasts: &[Forecast<'_>], history: &History, stamps: &Stamps, now: Now) -> Vec<PlannedLimit> {
    let mut cas: Vec<&Ca> = forecasts.iter().map(|forecast| forecast.ca).collect();
    cas.sort_by(|one, other| one.directory.cmp(&other.directory));
    cas.dedup_by(|one, other| one.directory == other.directory);
    let of_ca = |ca: &Ca| {
        let name = ca.name.clone();
        peaks(history, &ca.directory, stamps, now)
            .into_iter()
            .map(move |peak| PlannedLimit {
                ca: name.clone(),
                inside: peak.count <= peak.limit.max,
                limit: peak.limit,
                subject: peak.subject,
                peak: peak.count,
                peak_at: peak.at.map(|at| now.wall_at(at)),
            })
    };
    cas.into_iter().flat_map(of_ca).collect()
}

/// The ledger cannot be read, so no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    message: String,
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
