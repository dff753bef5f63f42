//! The kept versions of a certificate, read from the disk.

use std::sync::Arc;

use certstore::{Fingerprint, Name};
use tokio::time::timeout;

use super::{Coverage, Kept, Unusable, Version};
use crate::blocking;
use crate::state::State;
use crate::store::{Document, STATE_DEADLINE, Store, StoreError};

/// The kept version that would be tried first after a start under these names.
pub(crate) async fn comes_first(
    state: &State,
    name: &str,
    domains: &[Name],
) -> Result<Option<Fingerprint>, StoreError> {
    let kept = kept_now(state, name).await?;
    let fitting = kept.iter().flat_map(|kept| kept.fitting(domains));
    Ok(fitting.map(Version::fingerprint).next())
}

/// True if this version is no longer kept, and the version that other processes apply has all these names.
pub(crate) async fn is_replaced(
    state: &State,
    name: &str,
    fingerprint: Fingerprint,
    names: &[Name],
) -> Result<bool, StoreError> {
    let kept = kept_now(state, name).await?;
    Ok(kept.is_some_and(|kept| {
        let first = kept.versions.first();
        kept.version(fingerprint).is_none()
            && first.is_some_and(|first| first.coverage(names) == Coverage::Whole)
    }))
}

/// `None`: there is no document, or nothing of it can be used.
async fn kept_now(state: &State, name: &str) -> Result<Option<Kept>, StoreError> {
    let document = Document::Certificate(name.to_owned());
    match load(Arc::clone(&state.store), &document).await {
        Ok(Some((kept, _))) => Ok(Some(kept)),
        Ok(None) | Err(Unloaded::Broken(_)) => Ok(None),
        Err(Unloaded::Unread { text, .. }) => Err(StoreError::new(name, text)),
    }
}

/// Reason why a kept document cannot be used.
pub(crate) enum Unloaded {
    /// The disk does not give it, or a newer program wrote it: it may be whole.
    Unread { text: String, remedy: &'static str },
    /// Nothing of it can be used.
    Broken(String),
}

/// Reads the kept versions of a certificate, and the texts about its broken parts.
pub(crate) async fn load(
    store: Arc<dyn Store>,
    document: &Document,
) -> Result<Option<(Kept, Vec<String>)>, Unloaded> {
    let unread = |text: &str| {
        Err(Unloaded::Unread {
            text: format!("what `state_dir` keeps of it cannot be read: {text}"),
            remedy: "repair the disk, or let h2gate read the file",
        })
    };
    let bytes = match timeout(STATE_DEADLINE, store.read(document)).await {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => return unread(&error.to_string()),
        Err(_) => return unread("the disk does not answer"),
    };
    let parsed = blocking::prove(move || Kept::parse(&bytes)).await;
    match parsed.unwrap_or_else(|panicked| Err(Unusable::Broken(panicked.to_string()))) {
        Ok((kept, broken)) => {
            let told = broken.into_iter().map(|text| {
                format!(
                    "of what `state_dir` keeps of it, {text}; the one before it is tried, and the next good pair takes \
                     its place"
                )
            });
            Ok(Some((kept, told.collect())))
        }
        Err(Unusable::Newer(text)) => Err(Unloaded::Unread {
            text: format!("what `state_dir` keeps of it {text}"),
            remedy: "run the newer h2gate again, or give this one another `state_dir`",
        }),
        Err(Unusable::Broken(text)) => Err(Unloaded::Broken(format!(
            "what `state_dir` keeps of it {text}; it is not used, and the next good pair takes its place (if there is \
             a backup of `state_dir`, put the file back and start again)"
        ))),
    }
}
