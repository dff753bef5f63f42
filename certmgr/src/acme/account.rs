//! Our account at a CA: one for all certificates that are ordered there.
//!
//! The account key is on disk before the CA gets it. So a crash never leaves an account behind whose key is lost, and
//! a CA that has forgotten the account gets the same key again.

mod register;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Shared;
use super::jws::{self, AccountKey, Signer};
use super::kept::{FORMAT, Secret};
use super::problem::{AcmeError, ErrorCause};
use super::session::Session;
use crate::config::Ca;
use crate::error::IssueError;
use crate::event::EventKind;

use self::register::AccountStore;

/// A session, with the account that signs its requests.
pub(super) struct AccountSession {
    pub(super) session: Session,
    pub(super) key: AccountKey,
    /// URL of the account.
    pub(super) url: String,
}

/// The account's document in the state directory.
#[derive(Debug, Serialize, Deserialize)]
struct AccountDocument {
    format: u32,
    directory: String,
    external_account: Option<String>,
    /// The account's URL. `None`: not registered, or the CA has forgotten the account.
    url: Option<String>,
    key: Secret,
    /// The key of a change that has not ended: the CA may know it in place of `key`.
    next_key: Option<Secret>,
    contact: Vec<String>,
}

/// Name of the account in the state directory: the URL of the CA directory and, if there is one, the external key
/// identifier.
pub(super) fn name(ca: &Ca) -> String {
    match &ca.external_account {
        Some(external) => format!("{} {}", ca.directory, external.kid),
        None => ca.directory.clone(),
    }
}

/// Finds the account or registers one. `refused` is the URL of an account that the CA has said not to know, or not to
/// accept any more: it is registered again.
pub(super) async fn open(
    session: Session,
    shared: &Shared,
    refused: Option<&str>,
) -> Result<AccountSession, IssueError> {
    let register = AccountStore::new(&session, shared);
    let document = match register.read().await? {
        Some(document) if refused.is_none() && document.is_settled(&session.ca) => document,
        _ => {
            let _alone = register.alone().await?;
            if refused.is_some()
                && let Some(mut document) = register.read().await?
                && document.url.as_deref() == refused
            {
                let account = refused.unwrap_or_default().to_owned();
                shared
                    .reporter
                    .of_ca(&session.ca.name, EventKind::AccountLost { account });
                document.url = None;
                register.write(&document).await?;
            }
            register.settle().await?
        }
    };
    let key = document
        .key()
        .map_err(|bad| AcmeError::from(ErrorCause::Key(bad)).into_error(&session.ca, "use the account"))?;
    Ok(AccountSession {
        session,
        key,
        url: document.url.unwrap_or_default(),
    })
}

/// Gives the account a new key (RFC 8555 §7.3.5).
pub(super) async fn roll_key(session: Session, shared: &Shared) -> Result<(), IssueError> {
    let register = AccountStore::new(&session, shared);
    let _alone = register.alone().await?;
    let mut document = register.settle().await?;
    let ca = &session.ca;
    let failed = |error: AcmeError| error.into_error(ca, "change the account's key");
    let (Some(url), Some(change)) = (&document.url, &session.directory.key_change) else {
        return Err(failed(AcmeError::invalid("the CA has no keyChange resource")));
    };
    let no_key = |bad| failed(AcmeError::from(ErrorCause::Key(bad)));
    let old = document.key().map_err(no_key)?;
    let new = AccountKey::generate().map_err(no_key)?;
    let change_of_key = json!({ "account": url, "oldKey": old.jwk() });
    let inner = Signer::Key(&new).sign(change, None, Some(&change_of_key));
    let inner = inner.map_err(no_key)?;
    let signer = Signer::Account(&old, url);

    document.next_key = Some(secret_of(&new));
    register.write(&document).await?;
    match session.post("key-change", change, signer, Some(&inner)).await {
        Ok(_) => {
            document.key = secret_of(&new);
            document.next_key = None;
            register.write(&document).await?;
            shared.reporter.of_ca(&ca.name, EventKind::AccountKeyChanged);
            Ok(())
        }
        Err(error) => {
            // Without an answer the CA may know either key: the next call asks the CA.
            if error.is_refusal() {
                document.next_key = None;
                if error.is("accountDoesNotExist") {
                    document.url = None;
                }
                register.write(&document).await?;
            }
            Err(failed(error))
        }
    }
}

impl AccountDocument {
    fn new(ca: &Ca, key: &AccountKey) -> Self {
        Self {
            format: FORMAT,
            directory: ca.directory.clone(),
            external_account: ca.external_account.as_ref().map(|external| external.kid.clone()),
            url: None,
            key: secret_of(key),
            next_key: None,
            contact: Vec::new(),
        }
    }

    fn is_settled(&self, ca: &Ca) -> bool {
        self.url.is_some() && self.next_key.is_none() && self.contact == ca.contact
    }

    fn key(&self) -> Result<AccountKey, jws::BadKey> {
        key_of(&self.key)
    }
}

/// Reads the document of an account, and its keys.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_document(json: &[u8]) {
    if let Some(document) = super::kept::fuzz_document::<AccountDocument>(json)
        && let Ok(key) = document.key()
    {
        assert!(secret_of(&key) == document.key);
    }
}

fn secret_of(key: &AccountKey) -> Secret {
    Secret(Zeroizing::new(jws::base64(key.pkcs8())))
}

fn key_of(secret: &Secret) -> Result<AccountKey, jws::BadKey> {
    let der = BASE64_URL_SAFE_NO_PAD
        .decode(secret.0.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| jws::BadKey)?;
    AccountKey::from_pkcs8(&der)
}
