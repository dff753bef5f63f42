//! The kept versions of a certificate, read from the disk.

use certstore::{Fingerprint, Name};

use super::{Coverage, Kept, KeptVersion};
use crate::state::State;
use crate::store::{Document, LoadError, Store, StoreError};

/// The kept version that would be tried first after a start under these names.
pub(crate) async fn comes_first(
    state: &State,
    name: &str,
    domains: &[Name],
) -> Result<Option<Fingerprint>, StoreError> {
    let kept = kept_now(state, name).await?;
    let fitting = kept.iter().flat_map(|kept| kept.fitting(domains));
    Ok(fitting.map(KeptVersion::fingerprint).next())
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
    match load(&*state.store, name).await {
        Ok(Some((kept, _))) => Ok(Some(kept)),
        Ok(None) | Err(LoadError::Broken(_)) => Ok(None),
        Err(LoadError::Unread { text, .. }) => Err(StoreError::new(name, text)),
    }
}

/// Reads the kept versions of a certificate, and the texts about its broken parts.
pub(crate) async fn load(store: &dyn Store, name: &str) -> Result<Option<(Kept, Vec<String>)>, LoadError> {
    store
        .load(&Document::Certificate(name.to_owned()), Kept::parse)
        .await
}
