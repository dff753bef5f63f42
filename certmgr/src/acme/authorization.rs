//! Authorizations of an order (RFC 8555 §8): the answers to the challenges of the CA, published for as long as the CA
//! may validate them.

use certstore::Published;
use tracing::warn;

use super::account::AccountSession;
use super::claims::Claim;
use super::client::Client;
use super::keys::tls_alpn_certificate;
use super::note::Note;
use super::order::OrderError;
use super::problem::named;
use super::resources::{OfferedChallenge, Order};
use super::{Request, jws, kept};
use crate::config::Challenge;
use crate::dns::TxtRecord;
use crate::error::{IssueError, IssueFault};

/// Largest number of authorizations for each ordered name. RFC 8555 §7.1.3: the policy of the CA says how many an
/// order has, which need not be one for each name. Each is kept as long as the order, and read again when the order
/// fails.
const MAX_AUTHORIZATIONS_PER_NAME: usize = 2;

/// A challenge of the CA, and its answer.
struct PendingChallenge {
    /// The name as it was ordered.
    domain: String,
    offered: OfferedChallenge,
    key_authorization: String,
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

    /// The name without `*.`, which the TXT record belongs to.
    fn base(&self) -> &str {
        self.domain.trim_start_matches("*.")
    }
}

/// Publishes the answers and lets the CA validate them. They stay published until the result is dropped; TXT records
/// are in the note and stay until [`take_back`].
pub(super) async fn answer(
    client: &Client,
    account: &AccountSession,
    request: &Request,
    note: &mut Note,
    order: &Order,
) -> Result<PublishedChallenges, OrderError> {
    let pending = pending(client, account, request, order).await?;
    let published = match &client.source.challenge {
        Challenge::TlsAlpn01 => publish_tls_alpn(client, account, &pending).await?,
        Challenge::Http01 => publish_http(client, &pending),
        Challenge::Dns01(_) => {
            write_records(client, account, &request.certificate, note, &pending).await?;
            PublishedChallenges::default()
        }
    };
    for challenge in pending.iter().filter(|challenge| challenge.offered.is_open) {
        account
            .set_ready(&challenge.offered.url)
            .await
            .map_err(|error| {
                let doing = format!("answer the challenge for {}", challenge.domain);
                OrderError::of(account, error, &doing)
            })?;
    }
    Ok(published)
}

/// Removes the TXT records of the note. One that cannot be removed stays in the note.
pub(super) async fn take_back(client: &Client, certificate: &str, note: &mut Note) -> Result<(), IssueError> {
    if note.records.is_empty() {
        return Ok(());
    }
    match &client.txt {
        Some(txt) => txt.clean_up(&note.records).await?,
        None => warn!(
            certificate,
            records = ?note.records,
            "TXT records of an earlier order are left behind: dns-01 is not configured any more; remove them by hand"
        ),
    }
    note.records.clear();
    note.write(&client.shared.shelf, certificate)
        .await
        .map_err(|error| kept::trouble(&error, None))
}

/// Largest number of authorizations that is accepted for an order of this request.
pub(super) fn max_authorizations(request: &Request) -> usize {
    request.domains.len().saturating_mul(MAX_AUTHORIZATIONS_PER_NAME)
}

/// The challenges that are not validated yet. There may be none: the CA may still accept an earlier proof.
async fn pending(
    client: &Client,
    account: &AccountSession,
    request: &Request,
    order: &Order,
) -> Result<Vec<PendingChallenge>, OrderError> {
    let refused = |text: String, remedy: &str| {
        OrderError::Dead(IssueError {
            remedy: remedy.to_owned(),
            ..account.error(IssueFault::Refused, &text)
        })
    };
    let (wanted, most) = (order.authorizations.len(), max_authorizations(request));
    if wanted > most {
        let names = match request.domains.len() {
            1 => "1 name".to_owned(),
            names => format!("{names} names"),
        };
        let text = format!("the CA wants {wanted} proofs for an order of {names}; at most {most} are given");
        return Err(refused(text, "ask the CA"));
    }
    let thumbprint = account.key.thumbprint();
    let mut pending = Vec::new();
    for url in &order.authorizations {
        let read = account.authorization(url).await;
        let authorization = read.map_err(|error| OrderError::of(account, error, "read an authorization"))?;
        if !authorization.is_pending() {
            continue;
        }
        let domain = authorization.domain();
        if !is_ordered(&domain, request) {
            let domain = named(&domain);
            let text = format!("the CA wants a proof for {domain}, which was not ordered");
            return Err(refused(text, "ask the CA"));
        }
        let Some(offered) = authorization.challenge(&client.source.challenge) else {
            let method = client.source.challenge.name();
            let text = format!("the CA does not offer {method} for {domain}");
            return Err(refused(text, "choose another `challenge`; wildcards need dns-01"));
        };
        pending.push(PendingChallenge {
            domain,
            key_authorization: format!("{}.{thumbprint}", offered.token),
            offered,
        });
    }
    Ok(pending)
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

async fn publish_tls_alpn(
    client: &Client,
    account: &AccountSession,
    pending: &[PendingChallenge],
) -> Result<PublishedChallenges, OrderError> {
    let names = pending.iter().map(|challenge| challenge.domain.clone()).collect();
    let claim = client.shared.claims.claim(names).await;
    let mut published = Vec::new();
    for challenge in pending {
        let certificate = tls_alpn_certificate(&challenge.domain, &challenge.digest())
            .map_err(|error| OrderError::Error(account.error(IssueFault::State, &error.to_string())))?;
        let challenges = &client.shared.challenges;
        published.push(challenges.publish_tls_alpn(&challenge.domain, certificate));
    }
    Ok(PublishedChallenges {
        _published: published,
        _claim: Some(claim),
    })
}

fn publish_http(client: &Client, pending: &[PendingChallenge]) -> PublishedChallenges {
    let challenges = &client.shared.challenges;
    let publish = |challenge: &PendingChallenge| {
        challenges.publish_http(&challenge.offered.token, &challenge.key_authorization)
    };
    PublishedChallenges {
        _published: pending.iter().map(publish).collect(),
        _claim: None,
    }
}

/// Writes the TXT records. The note has them before they are made, so that a crash leaves none behind unnoted.
async fn write_records(
    client: &Client,
    account: &AccountSession,
    certificate: &str,
    note: &mut Note,
    pending: &[PendingChallenge],
) -> Result<(), OrderError> {
    let Some(txt) = &client.txt else {
        return Err(OrderError::Error(account.error(
            IssueFault::Configuration,
            "there is nobody who writes TXT records",
        )));
    };
    let by = |error: IssueError| OrderError::Error(account.named(error));
    let lookup = client.lookup();
    let mut records = Vec::new();
    for challenge in pending {
        records.push(TxtRecord {
            name: lookup.challenge_name(challenge.base()).await.map_err(by)?,
            // RFC 8555 §8.4.
            value: jws::base64(&challenge.digest()),
        });
    }
    records.sort();
    records.dedup();
    if records.is_empty() {
        return Ok(());
    }
    txt.check(&records).map_err(by)?;
    note.records.clone_from(&records);
    note.write(&client.shared.shelf, certificate)
        .await
        .map_err(|error| by(kept::trouble(&error, None)))?;
    txt.present(&records).await.map_err(by)
}
