//! A CA with the counts of Let's Encrypt: <https://letsencrypt.org/docs/rate-limits/>

use std::collections::BTreeMap;
use std::time::Duration;

use certstore::Fingerprint;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One token, but for the loss by rounding.
const ONE: f64 = 1.0 - 1e-6;

/// Tokens that return one by one, the way in which Let's Encrypt describes its limits.
struct Bucket {
    max: f64,
    refill: Duration,
    left: f64,
    at: Duration,
}

impl Bucket {
    fn new(max: u32, window: Duration) -> Self {
        Self {
            max: f64::from(max),
            refill: window / max,
            left: f64::from(max),
            at: Duration::ZERO,
        }
    }

    fn refilled(&mut self, at: Duration) {
        let came = at.saturating_sub(self.at).as_secs_f64() / self.refill.as_secs_f64();
        self.left = (self.left + came).min(self.max);
        self.at = at;
    }

    /// Time until there is one.
    fn short(&mut self, at: Duration) -> Option<Duration> {
        self.refilled(at);
        (self.left < ONE).then(|| self.refill.mul_f64(1.0 - self.left))
    }

    fn take(&mut self, at: Duration) {
        self.refilled(at);
        self.left -= 1.0;
    }
}

/// The limits of the CA, with their subjects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limited {
    Account(u32),
    Domain(String),
    Set(String),
    Failures(String),
    Paused(String),
}

/// <https://letsencrypt.org/docs/rate-limits/>
#[derive(Default)]
pub(crate) struct LetsEncrypt {
    buckets: BTreeMap<Limited, Bucket>,
    /// Certificates by their fingerprint, and whether they were replaced.
    pub(crate) issued: BTreeMap<Fingerprint, (String, bool)>,
    /// Failed validations that follow each other.
    pub(crate) in_a_row: BTreeMap<String, u32>,
    /// Refusals: the time, the limit, and its end.
    pub(crate) refusals: Vec<(Duration, Limited, Duration)>,
}

impl LetsEncrypt {
    /// Takes a new order, or names the limit that it breaks. A returned token counts once there is a certificate.
    pub(crate) fn order(
        &mut self,
        account: u32,
        name: &str,
        replaces: Option<Fingerprint>,
        at: Duration,
    ) -> Result<Vec<Limited>, (Limited, Duration)> {
        if self.in_a_row.get(name).is_some_and(|failures| *failures >= 1152) {
            return Err(self.refuse(Limited::Paused(name.to_owned()), 366 * DAY, at));
        }
        let replacing = replaces.and_then(|one| self.issued.get_mut(&one));
        let exempt = replacing.is_some_and(|(of, replaced)| of == name && !std::mem::replace(replaced, true));
        let renewal = self.issued.values().any(|(of, _)| of == name);
        let mut of_certificates = Vec::new();
        let mut asked = vec![(Limited::Failures(name.to_owned()), Bucket::new(5, HOUR))];
        if !exempt {
            of_certificates.push((Limited::Set(name.to_owned()), Bucket::new(5, 7 * DAY)));
        }
        if !exempt && !renewal {
            asked.push((Limited::Account(account), Bucket::new(300, 3 * HOUR)));
            of_certificates.push((
                Limited::Domain(domain_of(name).to_owned()),
                Bucket::new(50, 7 * DAY),
            ));
        }
        let counted: Vec<Limited> = of_certificates
            .iter()
            .map(|(limited, _)| limited.clone())
            .collect();
        for (limited, full) in asked.into_iter().chain(of_certificates) {
            if let Some(short) = self.buckets.entry(limited.clone()).or_insert(full).short(at) {
                return Err(self.refuse(limited, short, at));
            }
        }
        if !exempt && !renewal {
            self.take(&Limited::Account(account), at);
        }
        Ok(counted)
    }

    pub(crate) fn take(&mut self, limited: &Limited, at: Duration) {
        if let Some(bucket) = self.buckets.get_mut(limited) {
            bucket.take(at);
        }
    }

    fn refuse(&mut self, limited: Limited, wait: Duration, at: Duration) -> (Limited, Duration) {
        self.refusals.push((at, limited.clone(), at + wait));
        (limited, wait)
    }

    pub(crate) fn validation_failed(&mut self, name: &str, at: Duration) {
        self.take(&Limited::Failures(name.to_owned()), at);
        *self.in_a_row.entry(name.to_owned()).or_default() += 1;
    }
}

/// The domain of a name. All names that are ordered have three labels.
fn domain_of(name: &str) -> &str {
    name.split_once('.').unwrap().1
}
