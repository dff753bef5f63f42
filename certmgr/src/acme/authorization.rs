//! Authorizations of an order (RFC 8555 §8): the answers to the challenges of the CA, published for as long as the CA
//! may validate them.

use certstore::Published;

use super::claims::Claim;
use super::client::Client;
use super::keys::tls_alpn_certificate;
use super::order::{OrderAttempt, OrderError, OrderFate, TRIED_AGAIN};
use super::pending_order::PendingOrder;
use super::problem::named;
use super::resources::AcmeOrder;
use super::{Request, jws};
use crate::config::Challenge;
use crate::dns::TxtRecord;
use crate::error::{IssueError, IssueFault};
use crate::event::EventKind;

/// Largest number of authorizations for each ordered name. RFC 8555 §7.1.3: the policy of the CA says how many an
/// order has, which need not be one for each name. Each is kept as long as the order, and read again when the order
/// fails.
const MAX_AUTHORIZATIONS_PER_NAME: usize = 2;

/// A challenge that the CA has not validated yet, and its answer.
pub(super) struct PendingChallenge {
    pub(super) url: String,
    /// The name as it was ordered.
    pub(super) domain: String,
    pub(super) token: String,
    pub(super) key_authorization: String,
    /// The CA still waits for the request that lets it validate (RFC 8555 §7.5.1).
    pub(super) is_open: bool,
}

/// Published answers. They are removed when this is dropped. TXT records are in the note of the order instead.
#[derive(Default)]
pub(super) struct PublishedChallenges {
    _published: Vec<Published>,
    _claim: Option<Claim>,
}

impl PendingChallenge {
    fn digest(&self) -> [u8; 32] {
        jws::sha256(self.key_authorization.as_bytes())
    }
}

impl OrderAttempt<'_> {
    /// Publishes the answers and lets the CA validate them. They stay published until the result is dropped; TXT
    /// records are in the note and stay until [`Client::remove_records`].
    pub(super) async fn publish(
        &self,
        note: &mut PendingOrder,
        order: &AcmeOrder,
    ) -> Result<PublishedChallenges, OrderError> {
        let pending = self.pending(order).await?;
        let published = match &self.client.source.challenge {
            Challenge::TlsAlpn01 => self.publish_tls_alpn(&pending).await?,
            Challenge::Http01 => self.publish_http(&pending),
            Challenge::Dns01(_) => {
                self.write_records(note, &pending).await?;
                PublishedChallenges::default()
            }
        };
        for challenge in pending.iter().filter(|challenge| challenge.is_open) {
            let doing = format!("answer the challenge for {}", challenge.domain);
            let ready = self.account.set_ready(&challenge.url).await;
            ready.map_err(self.account.failed(doing))?;
        }
        Ok(published)
    }

    /// The challenges that are not validated yet. There may be none: the CA may still accept an earlier proof.
    async fn pending(&self, order: &AcmeOrder) -> Result<Vec<PendingChallenge>, OrderError> {
        let refused =
            |text, remedy| OrderFate::Dead.after(IssueError::new(IssueFault::Refused, text, remedy));
        let (wanted, most) = (order.authorizations.len(), max_authorizations(self.request));
        if wanted > most {
            let names = match self.request.domains.len() {
                1 => "1 name".to_owned(),
                names => format!("{names} names"),
            };
            let text =
                format!("the CA wants {wanted} proofs for an order of {names}; at most {most} are given");
            return Err(refused(text, "ask the CA"));
        }
        let kind = &self.client.source.challenge;
        let thumbprint = self.account.key.thumbprint();
        let mut pending = Vec::new();
        for url in &order.authorizations {
            let authorization = self.account.authorization(url).await;
            let authorization = authorization.map_err(self.account.failed("read an authorization"))?;
            if !authorization.is_pending() {
                continue;
            }
            let domain = authorization.domain();
            if !is_ordered(&domain, self.request) {
                let domain = named(&domain);
                let text = format!("the CA wants a proof for {domain}, which was not ordered");
                return Err(refused(text, "ask the CA"));
            }
            let Some(challenge) = authorization.challenge(kind, &thumbprint) else {
                let text = format!("the CA does not offer {} for {domain}", kind.name());
                return Err(refused(text, "choose another `challenge`; wildcards need dns-01"));
            };
            pending.push(challenge);
        }
        Ok(pending)
    }

    async fn publish_tls_alpn(
        &self,
        pending: &[PendingChallenge],
    ) -> Result<PublishedChallenges, OrderError> {
        let shared = &self.client.shared;
        let names = pending.iter().map(|challenge| challenge.domain.clone()).collect();
        let claim = shared.claims.claim(names).await;
        let mut published = Vec::new();
        for challenge in pending {
            let certificate = tls_alpn_certificate(&challenge.domain, &challenge.digest())?;
            published.push(shared.challenges.publish_tls_alpn(&challenge.domain, certificate));
        }
        Ok(PublishedChallenges {
            _published: published,
            _claim: Some(claim),
        })
    }

    fn publish_http(&self, pending: &[PendingChallenge]) -> PublishedChallenges {
        let challenges = &self.client.shared.challenges;
        let publish = |challenge: &PendingChallenge| {
            challenges.publish_http(&challenge.token, &challenge.key_authorization)
        };
        PublishedChallenges {
            _published: pending.iter().map(publish).collect(),
            _claim: None,
        }
    }

    /// Writes the TXT records. The note has them before they are made, so that a crash leaves none behind unnoted.
    async fn write_records(
        &self,
        note: &mut PendingOrder,
        pending: &[PendingChallenge],
    ) -> Result<(), OrderError> {
        let Some(txt) = &self.client.txt else {
            let text = "there is nobody who writes TXT records";
            return Err(IssueError::new(IssueFault::Configuration, text, TRIED_AGAIN).into());
        };
        let lookup = self.client.lookup();
        let mut records = Vec::new();
        for challenge in pending {
            records.push(TxtRecord {
                // The record of `*.name` is that of the name.
                name: lookup
                    .challenge_name(challenge.domain.trim_start_matches("*."))
                    .await?,
                // RFC 8555 §8.4.
                value: jws::base64(&challenge.digest()),
            });
        }
        records.sort();
        records.dedup();
        if records.is_empty() {
            return Ok(());
        }
        txt.check(&records)?;
        note.records.clone_from(&records);
        self.write(note).await?;
        Ok(txt.present(&records).await?)
    }
}

impl Client {
    /// Removes the TXT records of the note. One that cannot be removed stays in the note.
    pub(super) async fn remove_records(
        &self,
        certificate: &str,
        note: &mut PendingOrder,
    ) -> Result<(), IssueError> {
        if note.records.is_empty() {
            return Ok(());
        }
        match &self.txt {
            Some(txt) => txt.clean_up(&note.records).await?,
            None => {
                let names: Vec<&str> = note.records.iter().map(|one| one.name.as_str()).collect();
                let names = names.join(", ");
                self.report(certificate, EventKind::RecordsAbandoned { names });
            }
        }
        note.records.clear();
        Ok(note.write(&self.shared, certificate).await?)
    }
}

/// Largest number of authorizations that is accepted for an order of this request.
pub(super) fn max_authorizations(request: &Request) -> usize {
    request.domains.len().saturating_mul(MAX_AUTHORIZATIONS_PER_NAME)
}

/// True if the request has this name. The CA alone must not decide which names are answered for, or where TXT records
/// go.
fn is_ordered(domain: &str, request: &Request) -> bool {
    let base = |name: &str| name.trim_start_matches("*.").to_ascii_lowercase();
    request
        .domains
        .iter()
        .any(|ordered| base(&ordered.to_string()) == base(domain))
}
