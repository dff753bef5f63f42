//! Our account at a CA: one for all certificates that are ordered there.
//!
//! The account key is on disk before the CA gets it. So a crash never leaves an account behind whose key is lost, and
//! a CA that has forgotten the account gets the same key again.

mod register;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::client::Shared;
use super::jws::{self, AccountKey, Signer};
use super::kept::{FORMAT, Secret};
use super::problem::{ErrorCause, AcmeError};
use super::session::Session;
use crate::config::Ca;
use crate::error::IssueError;

use self::register::Register;

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

/// Finds the account or registers one.
pub(super) async fn open(session: Session, shared: &Shared) -> Result<AccountSession, IssueError> {
    let register = Register::new(&session, shared);
    let kept = match register.read().await? {
        Some(kept) if kept.is_settled(&session.ca) => kept,
        _ => {
            let _alone = register.alone().await?;
            register.settle().await?
        }
    };
    account(session, kept)
}

/// Opens the account as [`open`] does, after the CA has said that it knows no account `url`, or does not accept it
/// any more.
pub(super) async fn open_anew(session: Session, shared: &Shared, url: &str) -> Result<AccountSession, IssueError> {
    let register = Register::new(&session, shared);
    let kept = {
        let _alone = register.alone().await?;
        if let Some(mut kept) = register.read().await?
            && kept.url.as_deref() == Some(url)
        {
            warn!(ca = %session.ca.name, account = url, "the CA does not take our account any more; registering again");
            kept.url = None;
            register.write(&kept).await?;
        }
        register.settle().await?
    };
    account(session, kept)
}

/// Gives the account a new key (RFC 8555 §7.3.5).
pub(super) async fn roll_key(session: Session, shared: &Shared) -> Result<(), IssueError> {
    let register = Register::new(&session, shared);
    let _alone = register.alone().await?;
    let mut kept = register.settle().await?;
    let ca = &session.ca;
    let failed = |error: AcmeError| error.into_error(ca, "change the account's key");
    let (Some(url), Some(change)) = (&kept.url, &session.directory.key_change) else {
        let nonsense = ErrorCause::InvalidResponse("the CA has no keyChange resource".to_owned());
        return Err(failed(AcmeError::from(nonsense)));
    };
    let no_key = |bad| failed(AcmeError::from(ErrorCause::Key(bad)));
    let old = kept.key().map_err(no_key)?;
    let new = AccountKey::generate().map_err(no_key)?;
    let inner = Signer::Key(&new)
        .sign(
            change,
            None,
            Some(&json!({ "account": url, "oldKey": old.jwk() })),
        )
        .map_err(no_key)?;
    let signer = Signer::Account(&old, url);

    kept.next_key = Some(secret_of(&new));
    register.write(&kept).await?;
    match session.post("key-change", change, signer, Some(&inner)).await {
        Ok(_) => {
            kept.key = secret_of(&new);
            kept.next_key = None;
            register.write(&kept).await?;
            info!(ca = %ca.name, "the account has a new key");
            Ok(())
        }
        Err(error) => {
            // Without an answer the CA may know either key: the next call asks the CA.
            if error.is_refusal() {
                kept.next_key = None;
                if error.is("accountDoesNotExist") {
                    kept.url = None;
                }
                register.write(&kept).await?;
            }
            Err(failed(error))
        }
    }
}

fn account(session: Session, kept: AccountDocument) -> Result<AccountSession, IssueError> {
    let key = kept
        .key()
        .map_err(|bad| AcmeError::from(ErrorCause::Key(bad)).into_error(&session.ca, "use the account"))?;
    Ok(AccountSession {
        session,
        key,
        url: kept.url.unwrap_or_default(),
    })
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
