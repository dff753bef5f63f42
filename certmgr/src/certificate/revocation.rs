//! A wish to revoke: noted on disk, then what serves is replaced, then the CA is told.

use std::sync::Arc;
use std::time::Duration;

use certstore::CertBundle;
use tokio::time::Instant;

use super::Certificate;
use super::accept::authority_name;
use super::ordered::Course;
use super::orders::Orders;
use super::told::place;
use crate::acme::RevocationReason;
use crate::control::CommandError;
use crate::event::Event;

/// Between two attempts to revoke; doubled up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(3600);

impl Certificate {
    /// Notes that what serves is to be revoked; the story replaces it first.
    pub(super) async fn begin_revocation(&mut self, reason: RevocationReason) -> Result<(), CommandError> {
        let name = || self.config.name.clone();
        let Some(orders) = &self.orders else {
            return Err(self.not_ordered());
        };
        let Some(serving) = self.serving() else {
            return Err(CommandError::NothingServes { name: name() });
        };
        let generation = serving.generation();
        let from = self
            .kept
            .version(generation)
            .and_then(|version| version.facts.authority.as_ref());
        let configured = |from: &String| orders.source.authorities.iter().any(|one| one.directory == *from);
        if !from.is_some_and(configured) {
            return Err(CommandError::ForeignAuthority {
                name: name(),
                generation,
            });
        }
        self.kept.revoke(generation, reason);
        if let Err(error) = self.write_kept().await {
            self.kept.revocation = None;
            return Err(CommandError::State {
                name: self.config.name.clone(),
                text: format!(
                    "the wish cannot be noted: {error} (free space in `state_dir`, or let h2gate write there)"
                ),
            });
        }
        self.ask();
        Ok(())
    }

    /// Revokes what an operator wants revoked, once something else serves.
    pub(super) async fn go_on_with_revocation(&mut self, orders: &Arc<Orders>, course: &mut Course) {
        let Some((version, reason)) = self.kept.to_revoke() else {
            return;
        };
        let generation = version.generation();
        let serves = self
            .serving()
            .is_none_or(|serving| serving.generation() == generation);
        let early = course.revocation.is_some_and(|(at, _)| Instant::now() < at);
        let Some(authority) = self.authority_of(generation, orders) else {
            return;
        };
        let leaf = CertBundle::parse(&version.pair.chain, &version.pair.key);
        let Some(leaf) = leaf.ok().as_ref().and_then(leaf_of) else {
            return;
        };
        if serves || early {
            return;
        }
        let issuer = Arc::clone(&orders.issuer);
        let revoked = self
            .meanwhile(async move { issuer.revoke(authority, &leaf, reason).await })
            .await;
        let name = Arc::clone(self.post.name());
        match revoked {
            Ok(()) => {
                (course.revocation, course.told.revocation) = (None, None);
                self.kept.revoked(generation);
                let kept = self.write_kept().await;
                self.note_keeping(kept);
                let authority = authority_name(orders, authority);
                self.post.tell(Event::Revoked {
                    name,
                    generation,
                    authority,
                });
            }
            Err(error) => {
                let rest = course.revocation.map_or(FIRST_REST, |(_, rest)| rest * 2);
                let rest = rest.min(LONGEST_REST).max(error.limit().unwrap_or_default());
                course.revocation = Some((Instant::now() + rest, rest));
                if course.told.revocation.replace(error.class) != Some(error.class) {
                    let error = place(error);
                    self.post.tell(Event::RevocationFailed {
                        name,
                        generation,
                        error,
                    });
                }
            }
        }
    }
}

pub(super) fn leaf_of(bundle: &CertBundle) -> Option<Vec<u8>> {
    bundle.certified_key().cert.first().map(|leaf| leaf.to_vec())
}
