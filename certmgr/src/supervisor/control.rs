//! The face for operators while the program runs.

use std::sync::Arc;
use std::time::Duration;

use certstore::Fingerprint;
use tokio::sync::broadcast;

use super::Tasks;
use crate::acme::RevocationReason;
use crate::command::{Command, CommandError};
use crate::event::Event;
use crate::plan::{Plan, PlanError};
use crate::view::{Revocation, View};

/// Shows and commands the running certificates. Cheap to clone; outlives the [`Handle`](crate::Handle), and finds
/// nothing then.
#[derive(Clone)]
pub struct Control {
    tasks: Arc<Tasks>,
}

impl Control {
    pub(crate) fn new(tasks: Arc<Tasks>) -> Self {
        Self { tasks }
    }

    /// All certificates, by name.
    pub fn list(&self) -> Vec<View> {
        self.tasks.views()
    }

    /// One certificate.
    pub fn view(&self, name: &str) -> Result<View, CommandError> {
        self.tasks.view(name)
    }

    /// The orders at CAs within `horizon` from now, and if they stay inside the CAs' limits. Asks nobody, and orders
    /// nothing.
    pub async fn plan(&self, horizon: Duration) -> Result<Plan, PlanError> {
        self.tasks.plan(horizon).await
    }

    /// The certificates to be revoked, and the revoked ones that would still be valid; also of certificates that
    /// are not configured any more.
    pub fn revocations(&self) -> Vec<Revocation> {
        self.tasks.revocations()
    }

    /// Every event of a certificate from now on. A receiver that falls behind gets `RecvError::Lagged`; it looks at
    /// [`Control::list`] again then.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.tasks.watch()
    }

    /// Reads the source at once, or orders from the CA now, whatever the schedule says. The CA's own limits
    /// hold all the same. `Ok` once that has begun: an event reports its end, which is of the kind
    /// [`Promoted`](crate::EventKind::Promoted), [`Unchanged`](crate::EventKind::Unchanged),
    /// [`Failing`](crate::EventKind::Failing), [`Refused`](crate::EventKind::Refused) or
    /// [`Unreadable`](crate::EventKind::Unreadable).
    pub async fn renew(&self, name: &str) -> Result<(), CommandError> {
        self.tasks.ask(name, Command::Renew).await
    }

    /// Makes a kept version serve again: the one whose fingerprint begins with `to`, or else the one that served
    /// before. It is proved first. The version that served until now is excluded: the source will not bring back
    /// exactly that, but anything else. `Ok` once it serves.
    pub async fn rollback(&self, name: &str, to: Option<&str>) -> Result<Fingerprint, CommandError> {
        let to = to.map(str::to_owned);
        self.tasks
            .ask(name, |reply| Command::Rollback { to, reply })
            .await
    }

    /// Replaces the serving certificate, then revokes it at its CA. `Ok` once that has begun and is noted on
    /// disk: it continues after a crash, after the certificate's removal, and beside further wishes;
    /// [`EventKind::Revoked`](crate::EventKind::Revoked) reports the end. Certificates from ACME alone.
    pub async fn revoke(&self, name: &str, reason: RevocationReason) -> Result<(), CommandError> {
        self.tasks
            .ask(name, |reply| Command::Revoke { reason, reply })
            .await
    }

    /// Replaces the key of the account at the CA that is asked first for this certificate (RFC 8555 §7.3.5).
    /// `Ok` once the CA knows the new one. Certificates from ACME alone.
    pub async fn roll_account_key(&self, name: &str) -> Result<(), CommandError> {
        self.tasks.ask(name, Command::RollAccountKey).await
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
