//! A wish to revoke the serving version: noted on disk, then replaced; `revocations.rs` asks the CA.

use certstore::{CertBundle, Fingerprint};

use super::Core;
use crate::acme::RevocationReason;
use crate::command::CommandError;
use crate::kept::KeptVersion;
use crate::revocations::{ServePermit, Wish};

impl Core {
    /// Notes that the serving version is to be revoked; the task replaces it first.
    pub(super) async fn begin_revocation(&mut self, reason: RevocationReason) -> Result<(), CommandError> {
        let name = || self.config.name.clone();
        let (Some(orders), Some(revocations)) = (&self.orders, &self.revocations) else {
            return Err(self.not_ordered());
        };
        let Some(serving) = self.serving() else {
            return Err(CommandError::NothingServes { name: name() });
        };
        let fingerprint = serving.fingerprint();
        let version = self.kept.version(fingerprint);
        let ca = version
            .and_then(|version| orders.ca_of(version))
            .and_then(|position| orders.source.cas.get(position));
        let (Some(ca), Some(leaf)) = (ca, leaf_of(serving.bundle())) else {
            return Err(CommandError::ForeignCa {
                name: name(),
                fingerprint,
            });
        };
        let wish = Wish {
            certificate: name(),
            fingerprint,
            leaf,
            not_after: serving.bundle().not_after(),
            ca: ca.clone(),
            reason,
            asked_at: (self.options.now)(),
            said: None,
            revoked_at: None,
        };
        revocations.add(wish).await.map_err(|error| CommandError::State {
            name: name(),
            text: format!(
                "the wish cannot be noted: {error} (free space in `state_dir`, or let h2gate write there)"
            ),
        })?;
        self.request_renewal();
        Ok(())
    }

    /// The right to serve a version. `None`: its CA is being asked to revoke it, or has done so.
    pub(super) async fn right_to_serve(&self, version: &KeptVersion) -> Option<ServePermit> {
        match &self.revocations {
            Some(revocations) => {
                let names = &version.facts.names;
                revocations.right_to_serve(version.fingerprint(), names).await
            }
            None => Some(ServePermit::default()),
        }
    }

    /// Lets the work on wishes look again at what serves.
    pub(super) fn wake_revocations(&self) {
        if let Some(revocations) = &self.revocations {
            revocations.wake();
        }
    }

    /// Reads the wishes of other processes. If the read fails, the known wishes hold.
    pub(super) async fn refresh_revocations(&self) {
        if let Some(revocations) = &self.revocations {
            let _ = revocations.refresh().await;
        }
    }

    pub(super) fn serves_now(&self, fingerprint: Fingerprint, permit: ServePermit) {
        if let Some(revocations) = &self.revocations {
            revocations.serves_now(fingerprint, permit);
        }
    }
}

pub(super) fn leaf_of(bundle: &CertBundle) -> Option<Vec<u8>> {
    bundle.certified_key().cert.first().map(|leaf| leaf.to_vec())
}
