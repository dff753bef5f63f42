//! The resources of a CA (RFC 8555 §7.1) and the requests for them, with our account. `instant_acme` knows their JSON,
//! and this file alone knows `instant_acme`.

use std::time::Duration;

use certstore::Name;
use instant_acme::{
    AuthorizationState, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType,
    OrderState,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

pub(super) use instant_acme::{OrderStatus, Problem, RenewalInfo as RenewalDocument};

use super::RevocationReason;
use super::account::AccountSession;
use super::authorization::PendingChallenge;
use super::http::CaResponse;
use super::jws::{self, Signer};
use super::problem::{AcmeError, ErrorCause};
use crate::config::{Ca, Challenge};

/// An order, as the CA showed it last.
pub(super) struct AcmeOrder {
    pub(super) url: String,
    pub(super) status: OrderStatus,
    /// The reason for which it has failed.
    pub(super) error: Option<Problem>,
    /// URLs of its authorizations.
    pub(super) authorizations: Vec<String>,
    /// Time after which the CA wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    finalize: String,
    certificate: Option<String>,
}

/// An authorization of an order: the proof of one name.
pub(super) struct Authorization(AuthorizationState);

impl AcmeOrder {
    fn parse(url: &str, response: &CaResponse) -> Result<Self, AcmeError> {
        let state: OrderState = response.parse("the order")?;
        Ok(Self {
            url: url.to_owned(),
            status: state.status,
            error: state.error,
            authorizations: state.authorizations.into_iter().map(|one| one.url).collect(),
            retry_after: response.head.retry_after,
            finalize: state.finalize,
            certificate: state.certificate,
        })
    }
}

impl Authorization {
    pub(super) fn is_pending(&self) -> bool {
        self.0.status == AuthorizationStatus::Pending
    }

    /// The name as it was ordered.
    pub(super) fn domain(&self) -> String {
        self.0.identifier().to_string()
    }

    /// The challenge of this kind, if the CA offers it, with the answer of the account whose key has this thumbprint.
    pub(super) fn challenge(&self, kind: &Challenge, thumbprint: &str) -> Option<PendingChallenge> {
        let kind = match kind {
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::Dns01(_) => ChallengeType::Dns01,
        };
        let mut offered = self.0.challenges.iter();
        let challenge = offered.find(|challenge| challenge.r#type == kind)?;
        Some(PendingChallenge {
            url: challenge.url.clone(),
            domain: self.domain(),
            token: challenge.token.clone(),
            // RFC 8555 §8.1.
            key_authorization: format!("{}.{thumbprint}", challenge.token),
            is_open: challenge.status == ChallengeStatus::Pending,
        })
    }

    /// The reasons for which challenges have failed.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let challenges = self.0.challenges.iter();
        challenges.filter_map(|challenge| challenge.error.as_ref())
    }
}

impl AccountSession {
    /// Sends a request that the account signs. Without a payload it is a POST-as-GET (RFC 8555 §6.3).
    pub(super) async fn post(
        &self,
        kind: &'static str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<CaResponse, AcmeError> {
        let signer = Signer::Account(&self.key, &self.url);
        self.session.post(kind, url, signer, payload).await
    }

    /// Places an order (RFC 8555 §7.4). `replaces` is the [`certificate_id`] of the certificate that it replaces.
    pub(super) async fn new_order(
        &self,
        domains: &[Name],
        replaces: Option<&str>,
    ) -> Result<AcmeOrder, AcmeError> {
        let identifier = |domain: &Name| match domain {
            Name::Ip(address) => json!({ "type": "ip", "value": address }),
            name => json!({ "type": "dns", "value": name.to_string() }),
        };
        let Ca { profile, .. } = &self.session.ca;
        let fields = [
            ("identifiers", Some(domains.iter().map(identifier).collect())),
            ("profile", profile.as_deref().map(Value::from)),
            ("replaces", replaces.map(Value::from)),
        ];
        let given = |(name, value): (&'static str, Option<Value>)| Some((name, value?));
        let payload = fields.into_iter().filter_map(given).collect();
        let url = &self.session.directory.new_order;
        let response = self.post("new-order", url, Some(&payload)).await?;
        let url = response.location("newOrder")?;
        match AcmeOrder::parse(&url, &response) {
            // It is placed, whatever that answer says.
            Err(_) => self.order(&url).await,
            order => order,
        }
    }

    /// Reads an order.
    pub(super) async fn order(&self, url: &str) -> Result<AcmeOrder, AcmeError> {
        AcmeOrder::parse(url, &self.post("order", url, None).await?)
    }

    pub(super) async fn authorization(&self, url: &str) -> Result<Authorization, AcmeError> {
        let response = self.post("authorization", url, None).await?;
        response.parse("the authorization").map(Authorization)
    }

    /// Lets the CA validate a challenge (RFC 8555 §7.5.1).
    pub(super) async fn set_ready(&self, challenge_url: &str) -> Result<(), AcmeError> {
        let response = self.post("challenge", challenge_url, Some(&json!({}))).await?;
        let challenge: instant_acme::Challenge = response.parse("the challenge")?;
        match challenge.error {
            Some(problem) => Err(AcmeError::new(ErrorCause::Problem(problem), response.head)),
            None => Ok(()),
        }
    }

    /// Sends the signing request, in DER. Returns the order as it is then.
    pub(super) async fn finalize(&self, order: &AcmeOrder, request: &[u8]) -> Result<AcmeOrder, AcmeError> {
        let payload = json!({ "csr": jws::base64(request) });
        let response = self.post("finalize", &order.finalize, Some(&payload)).await?;
        AcmeOrder::parse(&order.url, &response)
    }

    /// Downloads the chain of a valid order, as the CA gives it.
    pub(super) async fn certificate(&self, order: &AcmeOrder) -> Result<CaResponse, AcmeError> {
        match &order.certificate {
            Some(url) => self.post("certificate", url, None).await,
            None => Err(AcmeError::invalid("the order is valid and has no certificate")),
        }
    }

    /// Revokes a certificate, in DER (RFC 8555 §7.6). One that is revoked already is no error.
    pub(super) async fn revoke(&self, leaf: &[u8], reason: RevocationReason) -> Result<(), AcmeError> {
        let Some(url) = &self.session.directory.revoke_cert else {
            return Err(AcmeError::invalid("the CA has no revokeCert resource"));
        };
        let payload = json!({ "certificate": jws::base64(leaf), "reason": reason as u8 });
        match self.post("revoke", url, Some(&payload)).await {
            Err(error) if !error.is("alreadyRevoked") => Err(error),
            _ => Ok(()),
        }
    }
}

/// Identifier of a certificate (RFC 9773 §4.1). `None` if the certificate does not say which key issued it, as
/// private CAs may do.
pub(super) fn certificate_id(leaf: &[u8]) -> Option<String> {
    let leaf = CertificateDer::from(leaf);
    let id = CertificateIdentifier::try_from(&leaf).ok()?;
    Some(id.to_string())
}
