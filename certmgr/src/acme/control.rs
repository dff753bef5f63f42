//! Authorizations of an order (RFC 8555 §8): the answers to the challenges of the CA, published for as long as the CA
//! may validate them.

use aws_lc_rs::digest;
use certstore::Published;
use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Order};
use tracing::warn;

use super::account::Member;
use super::claims::Claim;
use super::client::Client;
use super::keys::tls_alpn_certificate;
use super::note::Note;
use super::order::Stop;
use super::problem::named;
use super::session::act;
use super::{Request, jws, kept};
use crate::config::Challenge;
use crate::dns::TxtRecord;
use crate::error::{IssueError, IssueFault};

/// Largest number of authorizations for each ordered name. RFC 8555 §7.1.3: the policy of the CA says how many an
/// order has, which need not be one for each name. Each is kept as long as the order, and read again when the order
/// fails.
const MAX_AUTHORIZATIONS_PER_NAME: usize = 2;

/// A challenge of the CA, and its answer.
struct Question {
    /// Position of its authorization in the order.
    index: usize,
    /// The name as it was ordered.
    domain: String,
    token: String,
    key_authorization: String,
    /// The CA still waits for the request that lets it validate (RFC 8555 §7.5.1).
    is_open: bool,
}

/// Published answers. They are removed when this is dropped. TXT records are in the note of the order instead.
#[derive(Default)]
pub(super) struct Shown {
    _published: Vec<Published>,
    _claim: Option<Claim>,
}

impl Question {
    fn digest(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, self.key_authorization.as_bytes());
        <[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default()
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
    member: &Member,
    request: &Request,
    note: &mut Note,
    order: &mut Order,
) -> Result<Shown, Stop> {
    fetch_authorizations(member, request, order).await?;
    let questions = questions(client, member, request, order)?;
    let shown = match &client.source.challenge {
        Challenge::TlsAlpn01 => show_tls_alpn(client, member, &questions).await?,
        Challenge::Http01 => show_http(client, &questions),
        Challenge::Dns01(_) => {
            write_records(client, member, &request.certificate, note, &questions).await?;
            Shown::default()
        }
    };
    for question in questions.iter().filter(|question| question.is_open) {
        let kind = challenge_type(&client.source.challenge);
        act!(
            member.session,
            "challenge",
            set_ready(order, question.index, kind.clone())
        )
        .map_err(|trouble| {
            Stop::of(
                member,
                trouble,
                &format!("answer the challenge for {}", question.domain),
            )
        })?;
    }
    Ok(shown)
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

/// Fetches each authorization, so that the state of the order has them all.
async fn fetch_authorizations(member: &Member, request: &Request, order: &mut Order) -> Result<(), Stop> {
    let (wanted, most) = (order.state().authorizations.len(), max_authorizations(request));
    if wanted > most {
        let names = match request.domains.len() {
            1 => "1 name".to_owned(),
            names => format!("{names} names"),
        };
        let text = format!("the CA wants {wanted} proofs for an order of {names}; at most {most} are given");
        return Err(Stop::Dead(IssueError {
            remedy: "ask the CA".to_owned(),
            ..member.error(IssueFault::Refused, &text)
        }));
    }
    for index in 0..wanted {
        act!(member.session, "authorization", fetch_up_to(order, index))
            .map_err(|trouble| Stop::of(member, trouble, "read an authorization"))?;
    }
    Ok(())
}

/// Fetches the authorizations up to this position. Those that were fetched before cost no call.
async fn fetch_up_to(order: &mut Order, index: usize) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..=index {
        if let Some(authorization) = authorizations.next().await {
            authorization?;
        }
    }
    Ok(())
}

async fn set_ready(order: &mut Order, index: usize, kind: ChallengeType) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..index {
        if let Some(passed) = authorizations.next().await {
            passed?;
        }
    }
    match authorizations.next().await {
        Some(authorization) => match authorization?.challenge(kind) {
            Some(mut challenge) => challenge.set_ready().await,
            None => Err(instant_acme::Error::Str("the challenge is gone")),
        },
        None => Err(instant_acme::Error::Str("the authorization is gone")),
    }
}

fn challenge_type(challenge: &Challenge) -> ChallengeType {
    match challenge {
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::Dns01(_) => ChallengeType::Dns01,
    }
}

/// The challenges that are not validated yet. There may be none: the CA may still accept an earlier proof.
fn questions(
    client: &Client,
    member: &Member,
    request: &Request,
    order: &mut Order,
) -> Result<Vec<Question>, Stop> {
    let refused = |text: String, remedy: &str| {
        Stop::Dead(IssueError {
            remedy: remedy.to_owned(),
            ..member.error(IssueFault::Refused, &text)
        })
    };
    let kind = challenge_type(&client.source.challenge);
    let thumbprint = member.account.key_thumbprint();
    let mut questions = Vec::new();
    for (index, authorization) in order.state().authorizations.iter().enumerate() {
        let Some(state) = &authorization.state else {
            continue;
        };
        if state.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = state.identifier().to_string();
        if !is_ordered(&domain, request) {
            let text = format!(
                "the CA wants a proof for {}, which was not ordered",
                named(&domain)
            );
            return Err(refused(text, "ask the CA"));
        }
        let Some(challenge) = state.challenges.iter().find(|challenge| challenge.r#type == kind) else {
            let method = client.source.challenge.name();
            let text = format!("the CA does not offer {method} for {domain}");
            return Err(refused(text, "choose another `challenge`; wildcards need dns-01"));
        };
        questions.push(Question {
            index,
            domain,
            token: challenge.token.clone(),
            key_authorization: format!("{}.{thumbprint}", challenge.token),
            is_open: challenge.status == ChallengeStatus::Pending,
        });
    }
    Ok(questions)
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

async fn show_tls_alpn(client: &Client, member: &Member, questions: &[Question]) -> Result<Shown, Stop> {
    let names = questions.iter().map(|question| question.domain.clone()).collect();
    let claim = client.shared.claims.claim(names).await;
    let mut published = Vec::new();
    for question in questions {
        let certificate = tls_alpn_certificate(&question.domain, &question.digest())
            .map_err(|error| Stop::Error(member.error(IssueFault::State, &error.to_string())))?;
        let challenges = &client.shared.challenges;
        published.push(challenges.publish_tls_alpn(&question.domain, certificate));
    }
    Ok(Shown {
        _published: published,
        _claim: Some(claim),
    })
}

fn show_http(client: &Client, questions: &[Question]) -> Shown {
    let challenges = &client.shared.challenges;
    let publish = |question: &Question| challenges.publish_http(&question.token, &question.key_authorization);
    Shown {
        _published: questions.iter().map(publish).collect(),
        _claim: None,
    }
}

/// Writes the TXT records. The note has them before they are made, so that a crash leaves none behind unnoted.
async fn write_records(
    client: &Client,
    member: &Member,
    certificate: &str,
    note: &mut Note,
    questions: &[Question],
) -> Result<(), Stop> {
    let Some(txt) = &client.txt else {
        return Err(Stop::Error(member.error(
            IssueFault::Configuration,
            "there is nobody who writes TXT records",
        )));
    };
    let by = |error: IssueError| Stop::Error(member.named(error));
    let lookup = client.lookup();
    let mut records = Vec::new();
    for question in questions {
        records.push(TxtRecord {
            name: lookup.challenge_name(question.base()).await.map_err(by)?,
            // RFC 8555 §8.4.
            value: jws::base64(&question.digest()),
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
