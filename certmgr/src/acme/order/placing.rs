//! Placing an order: the checks that are possible before the CA is asked, and newOrder.

use super::{OrderAttempt, OrderError, OrderFate};
use crate::acme::Request;
use crate::acme::client::Client;
use crate::acme::problem::{bounded, named};
use crate::acme::resources::{AcmeOrder, certificate_id};
use crate::acme::session::Session;
use crate::dns::{self, CaIdentity, Finding, Severity};
use crate::error::{IssueError, IssueFault};
use crate::event::EventKind;

impl OrderAttempt<'_> {
    /// Checks that the CA has the configured profile: the refusal of the CA would not say which ones it has.
    pub(super) fn check_profile(&self) -> Result<(), IssueError> {
        let offered = &self.account.session.directory.meta.profiles;
        let wanted = match &self.ca().profile {
            Some(wanted) if !offered.contains_key(wanted) => wanted,
            _ => return Ok(()),
        };
        let names: Vec<String> = offered.keys().map(|name| named(name)).collect();
        let offers = match names.as_slice() {
            [] => "it offers none".to_owned(),
            names => format!("it offers {}", bounded(&names.join(", "))),
        };
        Err(IssueError::new(
            IssueFault::Configuration,
            format!("the CA has no profile `{wanted}`; {offers}"),
            "set `profile` to one that the CA offers, or remove it",
        ))
    }

    /// The self-check: mistakes that would make the order fail are reported before the CA counts the failure.
    pub(super) async fn check_names(&self) -> Result<(), IssueError> {
        let account = &self.account;
        let findings = self
            .client
            .findings(&account.session, Some(&account.url), self.request);
        let (blocking, others): (Vec<_>, Vec<_>) = findings
            .await
            .into_iter()
            .partition(|finding| finding.severity == Severity::Blocks);
        for finding in others {
            self.report(EventKind::SelfCheckWarned {
                domain: finding.domain.to_string(),
                text: finding.text,
                remedy: finding.remedy,
            });
        }
        let Some(first) = blocking.first() else {
            return Ok(());
        };
        let texts: Vec<&str> = blocking.iter().map(|finding| finding.text.as_str()).collect();
        Err(IssueError::new(
            IssueFault::SelfCheck,
            texts.join("; "),
            &first.remedy,
        ))
    }

    /// Places the order. An order that names the certificate that it replaces may pass rate limits (RFC 9773 §5). If
    /// the CA refuses the old certificate, or fails over it, the order is placed without it.
    pub(super) async fn place(&self) -> Result<AcmeOrder, OrderError> {
        let old = self.request.replaces.as_deref();
        let has_renewal_info = self.account.session.directory.renewal_info.is_some();
        let mut replaces = old.filter(|_| has_renewal_info).and_then(certificate_id);
        loop {
            if let Some(limiter) = &self.request.limiter {
                limiter.permit(replaces.is_some()).await?;
            }
            let placed = self.account.new_order(&self.request.domains, replaces.as_deref());
            let error = match placed.await {
                Ok(order) => return Ok(order),
                Err(error) => error,
            };
            let is_final =
                error.is("accountDoesNotExist") || !(error.is("serverInternal") || error.is_refusal());
            if replaces.take().is_none() || is_final {
                // RFC 8555 §7.3.6: so does a CA answer for an account that was deactivated.
                let is_deactivated = error.is("unauthorized");
                let error = self.account.failed("order a certificate")(error);
                return Err(match is_deactivated {
                    true => OrderFate::UnknownAccount.after(error.error),
                    false => error,
                });
            }
            let error = error.into_error(self.ca(), "order a replacement");
            self.report(EventKind::NotReplacing { error });
        }
    }
}

impl Client {
    /// Findings of the self-check for the names of a request.
    pub(in crate::acme) async fn findings(
        &self,
        session: &Session,
        account: Option<&str>,
        request: &Request,
    ) -> Vec<Finding> {
        let ca = CaIdentity {
            name: &session.ca.name,
            identities: &session.directory.meta.caa_identities,
            account,
        };
        dns::check(&self.lookup(), &request.domains, &self.source.challenge, ca).await
    }
}
