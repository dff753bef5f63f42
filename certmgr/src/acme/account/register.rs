//! Makes the document of an account and the CA agree: registering, contacts, and a change of keys that was
//! interrupted.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{AccountDocument, key_of, name};
use crate::acme::client::Shared;
use crate::acme::jws::{self, AccountKey, Signer};
use crate::acme::kept::{self, Secret};
use crate::acme::problem::{AcmeError, ErrorCause, named};
use crate::acme::session::Session;
use crate::config::{Ca, ExternalAccount};
use crate::error::{IssueError, IssueFault};
use crate::event::EventKind;
use crate::lease::Guard;
use crate::secret;
use crate::store::{Document, StoreError};

/// Time for which another process may be busy with the same account.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(90);

/// The account's document, and the operations that change it.
pub(super) struct AccountStore<'a> {
    session: &'a Session,
    shared: &'a Shared,
    name: String,
    document: Document,
}

/// Exclusive right to change the account, in this process and all others, until it is dropped.
pub(super) struct Alone {
    _here: tokio::sync::OwnedMutexGuard<()>,
    _everywhere: Guard,
}

impl<'a> AccountStore<'a> {
    pub(super) fn new(session: &'a Session, shared: &'a Shared) -> Self {
        let name = name(&session.ca);
        Self {
            session,
            shared,
            document: Document::Account(name.clone()),
            name,
        }
    }

    fn ca(&self) -> &Ca {
        &self.session.ca
    }

    pub(super) async fn read(&self) -> Result<Option<AccountDocument>, IssueError> {
        let kept = kept::read(self.shared, &self.document).await;
        let kept: Option<AccountDocument> = kept.map_err(|error| self.store_error(error))?;
        Ok(kept.filter(|kept| kept.key().is_ok()))
    }

    pub(super) async fn write(&self, kept: &AccountDocument) -> Result<(), IssueError> {
        let written = kept::write(self.shared, &self.document, kept).await;
        written.map_err(|error| self.store_error(error))
    }

    fn store_error(&self, error: StoreError) -> IssueError {
        IssueError::from(error).at(self.ca())
    }

    pub(super) async fn alone(&self) -> Result<Alone, IssueError> {
        let here = self.shared.account_lock(&self.name).lock_owned().await;
        // No certificate has a space in its name.
        let lease = format!("account {}", self.name);
        let everywhere = self.shared.lease.acquire_within(&lease, MAX_LEASE_WAIT).await;
        let everywhere = everywhere.map_err(|error| self.store_error(error))?;
        Ok(Alone {
            _here: here,
            _everywhere: everywhere.ok_or_else(|| {
                self.error(
                    IssueFault::State,
                    "another process that uses the same `state_dir` is busy with the account",
                    "give each h2gate its own `state_dir`",
                )
            })?,
        })
    }

    /// Makes the CA and the document agree. The caller holds [`Alone`].
    pub(super) async fn settle(&self) -> Result<AccountDocument, IssueError> {
        let (mut kept, from_disk) = match self.read().await? {
            Some(kept) => (kept, true),
            None => (self.fresh().await?, false),
        };
        if let Some(next) = kept.next_key.take() {
            if self.is_known(&next).await? {
                kept.key = next;
            }
            self.write(&kept).await?;
        }
        if kept.url.is_none() {
            kept = self.registered(kept, from_disk).await?;
        }
        if kept.contact != self.ca().contact {
            self.update_contact(&mut kept).await?;
        }
        Ok(kept)
    }

    async fn fresh(&self) -> Result<AccountDocument, IssueError> {
        let key = AccountKey::generate().map_err(|bad| self.failed(AcmeError::from(ErrorCause::Key(bad))))?;
        let kept = AccountDocument::new(self.ca(), &key);
        self.write(&kept).await?;
        Ok(kept)
    }

    fn report(&self, kind: EventKind) {
        self.shared.reporter.of_ca(&self.ca().name, kind);
    }

    async fn registered(
        &self,
        mut kept: AccountDocument,
        from_disk: bool,
    ) -> Result<AccountDocument, IssueError> {
        let answer = match self.register(&kept).await? {
            // An account that was deactivated never comes back: its key is of no use any more.
            Err(trouble) if from_disk && trouble.is("unauthorized") => {
                self.report(EventKind::AccountKeyRefused);
                kept = self.fresh().await?;
                self.register(&kept).await?
            }
            answer => answer,
        };
        let url = answer.map_err(|trouble| self.failed(trouble))?;
        self.report(EventKind::AccountOpened {
            account: url.clone(),
            terms: self.session.directory.meta.terms_of_service.as_deref().map(named),
        });
        kept.url = Some(url);
        kept.contact.clone_from(&self.ca().contact);
        self.write(&kept).await?;
        Ok(kept)
    }

    /// Registers the key, or finds the account that the CA has for it already (RFC 8555 §7.3). Returns the URL of the
    /// account.
    async fn register(&self, kept: &AccountDocument) -> Result<Result<String, AcmeError>, IssueError> {
        let url = &self.session.directory.new_account;
        let key = match kept.key() {
            Ok(key) => key,
            Err(bad) => return Ok(Err(AcmeError::from(ErrorCause::Key(bad)))),
        };
        let mut payload = json!({
            "termsOfServiceAgreed": true,
            "contact": mail_urls(&self.ca().contact),
        });
        match &self.ca().external_account {
            Some(external) => {
                let hmac_key = self.hmac_key(external).await?;
                let binding = match jws::external_binding(&external.kid, &hmac_key, url, &key) {
                    Ok(binding) => binding,
                    Err(bad) => return Ok(Err(AcmeError::from(ErrorCause::Key(bad)))),
                };
                if let Some(fields) = payload.as_object_mut() {
                    fields.insert("externalAccountBinding".to_owned(), binding);
                }
            }
            None if self.session.directory.meta.external_account_required => {
                return Err(self.error(
                    IssueFault::Configuration,
                    "the CA takes only accounts that are bound to one of its customers",
                    "set `external_account` with the key identifier and the HMAC key that the CA gave you",
                ));
            }
            None => {}
        }
        self.shared.registrar.may_register(self.ca()).await?;
        let answer = self
            .session
            .post("new-account", url, Signer::Key(&key), Some(&payload))
            .await;
        if answer.is_err() {
            self.shared.registrar.not_registered(self.ca()).await;
        }
        Ok(answer.and_then(|answer| answer.location("newAccount")))
    }

    /// True if the CA has an account with this key.
    async fn is_known(&self, key: &Secret) -> Result<bool, IssueError> {
        let Ok(key) = key_of(key) else {
            return Ok(false);
        };
        let url = &self.session.directory.new_account;
        let payload = json!({ "onlyReturnExisting": true });
        match self
            .session
            .post("new-account", url, Signer::Key(&key), Some(&payload))
            .await
        {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is("accountDoesNotExist") => Ok(false),
            // It was deactivated: known, and of no use.
            Err(trouble) if trouble.is("unauthorized") => Ok(true),
            Err(trouble) => Err(self.failed(trouble)),
        }
    }

    /// Changes the contacts of the account (RFC 8555 §7.3.2). A refusal of the CA is only logged: no order fails
    /// because of it.
    async fn update_contact(&self, kept: &mut AccountDocument) -> Result<(), IssueError> {
        let (Ok(key), Some(url)) = (kept.key(), &kept.url) else {
            return Ok(());
        };
        let payload = json!({ "contact": mail_urls(&self.ca().contact) });
        match self
            .session
            .post("account", url, Signer::Account(&key, url), Some(&payload))
            .await
        {
            Ok(_) => {
                kept.contact.clone_from(&self.ca().contact);
                self.write(kept).await
            }
            Err(trouble) => {
                let error = trouble.into_error(self.ca(), "change the account's contact");
                self.report(EventKind::ContactRefused { error });
                Ok(())
            }
        }
    }

    async fn hmac_key(&self, external: &ExternalAccount) -> Result<Zeroizing<Vec<u8>>, IssueError> {
        // Boxed: a call to AWS is a large future, and rare.
        let read = Box::pin(secret::read(&external.hmac_key));
        let text = read.await.map_err(|error| {
            self.error(
                IssueFault::Configuration,
                &format!("the HMAC key of `external_account` cannot be had: {error}"),
                "check `hmac_key` of `external_account`",
            )
        })?;
        decode_hmac_key(&text).ok_or_else(|| {
            self.error(
                IssueFault::Configuration,
                "the HMAC key of `external_account` is not base64",
                "give it as the CA gave it: base64url",
            )
        })
    }

    fn failed(&self, trouble: AcmeError) -> IssueError {
        // RFC 8555 §7.3.4: CAs refuse a binding with different problem types, and some do not mention the binding.
        let is_of_binding = trouble.is_refusal()
            && self.ca().external_account.is_some()
            && ["malformed", "unauthorized", "externalAccountRequired", ""]
                .iter()
                .any(|kind| trouble.is(kind));
        let mut error = trouble.into_error(self.ca(), "register an account");
        if is_of_binding {
            error.class = IssueFault::Configuration;
            error.remedy = "compare `kid` and `hmac_key` of `external_account` with what the CA gave you; most CAs take \
                            each pair for a single account and for some days: get a new one if in doubt"
                .to_owned();
        }
        error
    }

    fn error(&self, class: IssueFault, text: &str, remedy: &str) -> IssueError {
        IssueError::new(class, text, remedy).at(self.ca())
    }
}

fn mail_urls(contact: &[String]) -> Value {
    contact
        .iter()
        .map(|address| format!("mailto:{address}"))
        .collect()
}

/// Decodes an HMAC key. CAs give it as base64url; people copy it with padding, or in the other alphabet.
fn decode_hmac_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bare = text.trim().trim_end_matches('=');
    BASE64_URL_SAFE_NO_PAD
        .decode(bare)
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(bare))
        .ok()
        .filter(|key| !key.is_empty())
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hmac_key_is_read_in_both_alphabets() {
        for text in ["-_-_", "-_-_\n", "+/+/"] {
            assert_eq!(*decode_hmac_key(text).unwrap(), [0xfb, 0xff, 0xbf], "{text}");
        }
        assert_eq!(*decode_hmac_key("AQ==").unwrap(), [1]);
        assert!(decode_hmac_key("not base64!").is_none());
        assert!(decode_hmac_key("").is_none());
    }
}
