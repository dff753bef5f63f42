//! Reports on the age of the serving version.

use super::Core;
use crate::clock::Expiry;
use crate::config::Source;
use crate::event::EventKind;

/// The serving version is reported expiring once less than this part of its life is left.
const LAST_PART_OF_LIFE: u64 = 5;

/// The same for a certificate that renews itself and has not failed to: its CA may advise to wait until a sixth is
/// left.
const LAST_PART_OF_RENEWED: u64 = 8;

impl Core {
    /// Reports once for each version that its end is near, and once that it is past.
    pub(super) fn report_expiry(&mut self) {
        let Some(serving) = self.serving() else { return };
        let (fingerprint, bundle) = (serving.fingerprint(), serving.bundle());
        let not_after = bundle.not_after();
        let last_part = match (&self.orders, &self.failing) {
            (Some(_), None) => LAST_PART_OF_RENEWED,
            _ => LAST_PART_OF_LIFE,
        };
        let now = (self.options.now)();
        let Some(expiry) = Expiry::of(bundle.not_before(), not_after, now, last_part) else {
            return;
        };
        if self.reported_expiry == Some((fingerprint, expiry)) {
            return;
        }
        self.reported_expiry = Some((fingerprint, expiry));
        let remedy = match self.config.source {
            Source::Acme(_) => "see the events of its renewal",
            _ => "put a new pair in place",
        };
        self.publisher.report(match expiry {
            Expiry::Soon => EventKind::ExpiresSoon {
                fingerprint,
                not_after,
                remedy,
            },
            Expiry::Past => EventKind::Expired {
                fingerprint,
                not_after,
                remedy,
            },
        });
    }
}
