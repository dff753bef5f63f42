//! Placing an order: the checks that are possible before the CA is asked, and newOrder.

use tracing::{info, warn};

use super::{OrderAttempt, OrderError};
use crate::acme::Request;
use crate::acme::client::Client;
use crate::acme::problem::{ErrorCause, AcmeError, bounded, named};
use crate::acme::resources::{Order, certificate_id};
use crate::acme::session::Session;
use crate::dns::{self, CaIdentity, Finding, Severity};
use crate::error::{IssueError, IssueFault};

impl OrderAttempt<'_> {
    /// Checks that the CA has the configured profile: the refusal of the CA would not say which ones it has.
    pub(super) fn check_profile(&self) -> Result<(), OrderError> {
        let session = &self.account.session;
        let (Some(wanted), offered) = (&session.ca.profile, &session.directory.meta.profiles) else {
            return Ok(());
        };
        if offered.contains_key(wanted) {
            return Ok(());
        }
        let names: Vec<String> = offered.keys().map(|name| named(name)).collect();
        let offers = match names.as_slice() {
            [] => "it offers none".to_owned(),
            names => format!("it offers {}", bounded(&names.join(", "))),
        };
        Err(self.error(IssueError {
            remedy: "set `profile` to one that the CA offers, or remove it".to_owned(),
            ..self.account.error(
                IssueFault::Configuration,
                &format!("the CA has no profile `{wanted}`; {offers}"),
            )
        }))
    }

    /// The self-check: mistakes that would make the order fail are reported before the CA counts the failure.
    pub(super) async fn check_names(&self) -> Result<(), OrderError> {
        let account = Some(self.account.url.as_str());
        let findings = findings(self.client, &self.account.session, account, self.request).await;
        let (blocking, others): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Blocks);
        for finding in others {
            warn!(
                certificate = self.certificate(),
                domain = %finding.domain,
                remedy = %finding.remedy,
                "before the order: {}",
                finding.text
            );
        }
        let Some(first) = blocking.first() else {
            return Ok(());
        };
        let texts: Vec<&str> = blocking.iter().map(|finding| finding.text.as_str()).collect();
        Err(self.error(IssueError {
            remedy: first.remedy.clone(),
            ..self.account.error(IssueFault::SelfCheck, &texts.join("; "))
        }))
    }

    /// Places the order. An order that names the certificate that it replaces may pass rate limits (RFC 9773 §5). If
    /// the CA refuses the old certificate, or fails over it, the order is placed without it.
    pub(super) async fn place(&self) -> Result<Order, AcmeError> {
        let replaces = self
            .request
            .replaces
            .as_deref()
            .filter(|_| self.account.session.directory.renewal_info.is_some())
            .and_then(certificate_id);
        let Some(replaces) = replaces else {
            return self.place_one(None).await;
        };
        match self.place_one(Some(&replaces)).await {
            Err(error)
                if error.is("serverInternal")
                    || error.is_refusal() && !error.is("accountDoesNotExist") =>
            {
                info!(
                    certificate = self.certificate(),
                    "the CA does not take the order as a replacement: {}",
                    error.into_error(&self.account.session.ca, "order a replacement")
                );
                self.place_one(None).await
            }
            placed => placed,
        }
    }

    async fn place_one(&self, replaces: Option<&str>) -> Result<Order, AcmeError> {
        if let Some(limiter) = &self.request.limiter {
            let permitted = limiter.permit(replaces.is_some()).await;
            permitted.map_err(|error| AcmeError::from(ErrorCause::NotPermitted(Box::new(error))))?;
        }
        self.account.new_order(&self.request.domains, replaces).await
    }
}

/// Findings of the self-check for the names of a request.
pub(in crate::acme) async fn findings(
    client: &Client,
    session: &Session,
    account: Option<&str>,
    request: &Request,
) -> Vec<Finding> {
    let ca = CaIdentity {
        name: &session.ca.name,
        identities: &session.directory.meta.caa_identities,
        account,
    };
    dns::check(&client.lookup(), &request.domains, &client.source.challenge, ca).await
}
