//! Counts since the start of the program, for metrics: events of certificates and trust bundles, and reloads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certmgr::{Event, EventKind, Reason, Subject, SubjectKind};

/// The outcome of a successful attempt to get a certificate by ACME; the others are [`certmgr::IssueFault::ALL`].
pub(crate) const ISSUED: &str = "issued";

/// The counter of events.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<EventTotals>>);

/// Counts of events since the start. If a reload removes a certificate and another one brings it back, its counts go
/// on.
#[derive(Debug, Clone, Default)]
pub struct EventTotals {
    events: Counts,
    orders: Counts,
}

/// Counts by subject and by label.
type Counts = BTreeMap<Subject, BTreeMap<&'static str, u64>>;

impl Events {
    /// Counts one.
    pub fn count(&self, event: &Event) {
        let mut totals = lock(&self.0);
        add(&mut totals.events, &event.subject, event.kind.label());
        if let Some(outcome) = outcome(&event.kind) {
            add(&mut totals.orders, &event.subject, outcome);
        }
    }

    /// All counts now.
    pub fn totals(&self) -> EventTotals {
        lock(&self.0).clone()
    }
}

impl EventTotals {
    /// The events of a subject, by label.
    pub fn events<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
        counts(&self.events, subject)
    }

    /// The number of the events of a subject that have this label.
    pub fn count_of(&self, subject: &Subject, label: &str) -> u64 {
        let counts = self.events.get(subject);
        counts
            .and_then(|counts| counts.get(label))
            .copied()
            .unwrap_or_default()
    }

    /// Events with this label of all certificates, those that are gone among them, and of what they share.
    pub fn events_with(&self, label: &str) -> u64 {
        let others = self
            .events
            .iter()
            .filter(|(subject, _)| subject.kind() != SubjectKind::TrustBundle);
        others.filter_map(|(_, counts)| counts.get(label)).sum()
    }

    /// The orders of a certificate, by outcome.
    pub fn orders<'a>(
        &'a self,
        certificate: &Subject,
    ) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
        counts(&self.orders, certificate)
    }
}

/// The outcome of an order, if the event has one. The errors of an order are reported by one kind of event.
fn outcome(kind: &EventKind) -> Option<&'static str> {
    match kind {
        EventKind::Issued { .. } => Some(ISSUED),
        EventKind::Failing { error, .. } => match &error.reason {
            Reason::Issue(error) => Some(error.class.as_str()),
            _ => None,
        },
        _ => None,
    }
}

fn add(counts: &mut Counts, subject: &Subject, label: &'static str) {
    let by_label = counts.entry(subject.clone()).or_default();
    let count = by_label.entry(label).or_default();
    *count = count.saturating_add(1);
}

fn counts<'a>(counts: &'a Counts, subject: &Subject) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
    let counts = counts.get(subject).into_iter().flatten();
    counts.map(|(label, count)| (*label, *count))
}

/// Counters of reloads.
#[derive(Debug)]
pub struct Reloads(Mutex<ReloadTotals>);

/// Counts of reloads at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadTotals {
    /// Applied.
    pub applied: u64,
    /// Refused; nothing changed.
    pub refused: u64,
    /// The result of the last one: true if it was applied, and before the first.
    pub last_applied: bool,
    /// The time at which the configuration that runs was applied, since the Unix epoch. The start counts as the first.
    pub applied_at: Duration,
}

impl Reloads {
    /// At the start of the program.
    pub fn new(now: Duration) -> Self {
        Self(Mutex::new(ReloadTotals {
            applied: 0,
            refused: 0,
            last_applied: true,
            applied_at: now,
        }))
    }

    /// Counts a reload that took effect.
    pub fn applied(&self, now: Duration) {
        let mut totals = lock(&self.0);
        totals.applied = totals.applied.saturating_add(1);
        totals.last_applied = true;
        totals.applied_at = now;
    }

    /// Counts a reload that was refused and changed nothing.
    pub fn refused(&self) {
        let mut totals = lock(&self.0);
        totals.refused = totals.refused.saturating_add(1);
        totals.last_applied = false;
    }

    /// All counts now.
    pub fn totals(&self) -> ReloadTotals {
        *lock(&self.0)
    }
}

/// A panic of another thread leaves counts that are good enough.
fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use certmgr::{Error, IssueError, IssueFault};
    use certstore::UnixTime;

    use super::*;

    fn api() -> Subject {
        Subject::Certificate("api".into())
    }

    fn failing(class: IssueFault) -> Event {
        let kind = EventKind::Failing {
            error: Error {
                places: vec!["letsencrypt".to_owned()],
                reason: Reason::Issue(IssueError {
                    class,
                    ca: "letsencrypt".to_owned(),
                    text: "no".to_owned(),
                    remedy: "none".to_owned(),
                    retry_after: None,
                }),
            },
            since: UnixTime::now(),
            attempts: 1,
            next: UnixTime::now(),
            serving: None,
        };
        Event { subject: api(), kind }
    }

    #[test]
    fn an_order_is_counted_by_how_it_ended() {
        let events = Events::default();
        events.count(&Event {
            subject: api(),
            kind: EventKind::Issued {
                ca: "letsencrypt".to_owned(),
                order: "https://ca.test/order/1".to_owned(),
                took: Duration::ZERO,
            },
        });
        for fault in IssueFault::ALL {
            events.count(&failing(fault));
            events.count(&failing(fault));
        }
        let totals = events.totals();
        let orders: BTreeMap<_, _> = totals.orders(&api()).collect();
        assert_eq!(orders[ISSUED], 1);
        for fault in IssueFault::ALL {
            assert_eq!(orders[fault.as_str()], 2, "{fault:?}");
        }
        assert!(totals.events(&api()).eq([("failing", 20), ("issued", 1)]));
        let other = Subject::Certificate("other".into());
        assert_eq!(
            (totals.events(&other).count(), totals.orders(&other).count()),
            (0, 0)
        );
        events.count(&failing(IssueFault::Dns));
        let totals = events.totals();
        assert_eq!(
            (totals.events_with("failing"), totals.events_with("kept")),
            (21, 0)
        );
    }

    #[test]
    fn a_trust_bundle_and_a_certificate_of_one_name_are_counted_apart() {
        let events = Events::default();
        let bundle = Subject::TrustBundle("api".into());
        events.count(&Event {
            subject: bundle.clone(),
            kind: EventKind::KeptBroken {
                text: "no".to_owned(),
            },
        });
        let totals = events.totals();
        assert_eq!(totals.count_of(&bundle, "kept_broken"), 1);
        assert_eq!(totals.events_with("kept_broken"), 0);
        assert_eq!(totals.events(&api()).count(), 0);
    }

    #[test]
    fn every_fault_is_listed() {
        // A new one does not compile here before it is in the list.
        let position = |fault| match fault {
            IssueFault::Unreachable => 0,
            IssueFault::RateLimited => 1,
            IssueFault::Paused => 2,
            IssueFault::Challenge => 3,
            IssueFault::Refused => 4,
            IssueFault::SelfCheck => 5,
            IssueFault::Dns => 6,
            IssueFault::State => 7,
            IssueFault::Configuration => 8,
            IssueFault::Certificate => 9,
        };
        assert_eq!(IssueFault::ALL.map(position), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
