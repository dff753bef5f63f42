//! Commands of operators for one certificate.

use certstore::{Fingerprint, Proved, Requirements};

use super::{Core, prove_pair};
use crate::command::{Command, CommandError};
use crate::error::{Error, Reason};
use crate::event::EventKind;
use crate::kept::KeptVersion;

impl Core {
    pub(super) async fn carry_out(&mut self, command: Command) {
        // The caller may be gone, and nobody else wants the answer.
        match command {
            Command::Renew(reply) => {
                self.request_renewal();
                let _ = reply.send(Ok(()));
            }
            Command::Rollback { to, reply } => {
                let _ = reply.send(self.roll_back(to.as_deref()).await);
            }
            Command::Revoke { reason, reply } => {
                let _ = reply.send(self.begin_revocation(reason).await);
            }
            Command::RollAccountKey(reply) => {
                let Some(orders) = self.orders.clone() else {
                    let _ = reply.send(Err(self.not_ordered()));
                    return;
                };
                let name = self.config.name.clone();
                // In a task of its own: it may take several calls to the CA.
                tokio::spawn(async move {
                    let rolled = orders.issuer.roll_account_key(0).await;
                    let _ = reply.send(rolled.map_err(|error| CommandError::Issue {
                        name,
                        error: Box::new(error),
                    }));
                });
            }
        }
    }

    /// Notes that an operator wants a new certificate.
    pub(super) fn request_renewal(&mut self) {
        self.renewal_requested = true;
        self.renewal_requested_at = Some((self.options.now)());
    }

    /// Makes a kept version serve again, and excludes the one that served.
    async fn roll_back(&mut self, to: Option<&str>) -> Result<Fingerprint, CommandError> {
        // Another process may have noted a wish.
        self.refresh_revocations().await;
        let serving = self.serving().map(|serving| serving.fingerprint());
        let version = self.find(to, serving)?;
        let fingerprint = version.fingerprint();
        let proved = self
            .prove_again(version)
            .await
            .map_err(|reason| CommandError::Refused {
                name: self.config.name.clone(),
                fingerprint,
                error: Box::new(Error {
                    places: vec!["the kept version".to_owned()],
                    reason,
                }),
            })?;
        let Some(version) = self.kept.take(fingerprint) else {
            debug_assert!(false, "it was found above");
            return Err(self.no_such_version(to, serving));
        };
        let content = version.content();
        self.kept.promote(version.promoted_at((self.options.now)()));
        if let Some(serving) = serving {
            self.kept.exclude(serving);
        }
        let kept = self.write_kept().await;
        if self.publisher.install(proved).is_none() {
            return Err(CommandError::Gone {
                name: self.config.name.clone(),
            });
        }
        self.wake_revocations();
        self.content = Some(content);
        self.excluded_content = None;
        self.show_state();
        self.publisher.report(EventKind::RolledBack {
            from: serving,
            to: fingerprint,
        });
        self.note_keeping(kept);
        Ok(fingerprint)
    }

    /// The one kept version that `to` means.
    fn find(&self, to: Option<&str>, serving: Option<Fingerprint>) -> Result<&KeptVersion, CommandError> {
        let others = self.others(serving);
        let fits = |version: &&KeptVersion| {
            to.is_none_or(|to| !to.is_empty() && version.hex().starts_with(&to.to_ascii_lowercase()))
        };
        let mut found = others.filter(fits);
        match (found.next(), to, found.next()) {
            (None, _, _) => Err(self.no_such_version(to, serving)),
            (Some(first), Some(to), Some(second)) => Err(CommandError::Ambiguous {
                name: self.config.name.clone(),
                wanted: to.to_owned(),
                known: [first, second].map(|one| one.fingerprint().to_string()).to_vec(),
            }),
            (Some(first), _, _) => Ok(first),
        }
    }

    /// The kept versions that may serve again, other than the serving one.
    fn others(&self, serving: Option<Fingerprint>) -> impl Iterator<Item = &KeptVersion> {
        let versions = self.kept.versions.iter();
        versions.filter(move |version| {
            let fingerprint = version.fingerprint();
            Some(fingerprint) != serving && !self.is_to_be_revoked(fingerprint)
        })
    }

    fn no_such_version(&self, to: Option<&str>, serving: Option<Fingerprint>) -> CommandError {
        CommandError::NoSuchVersion {
            name: self.config.name.clone(),
            wanted: to.unwrap_or_default().to_owned(),
            known: self
                .others(serving)
                .map(|version| version.fingerprint().to_string())
                .collect(),
        }
    }

    pub(super) async fn prove_again(&self, version: &KeptVersion) -> Result<Proved, Reason> {
        let requirements = Requirements {
            serving: None,
            allow_rollback: true,
            ..self.requirements()?
        };
        prove_pair(version.pair.clone(), requirements, (self.options.now)()).await
    }

    pub(super) fn not_ordered(&self) -> CommandError {
        CommandError::NotOrdered {
            name: self.config.name.clone(),
            source_kind: self.config.source.kind(),
        }
    }
}
