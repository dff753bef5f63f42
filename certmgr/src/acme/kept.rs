//! What is on disk: JSON documents with secrets in them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::warn;
use zeroize::Zeroizing;

use super::{IssueError, IssueFault};
use crate::config::Authority;
use crate::state::State;
use crate::store::{Document, StoreError};

/// The version of the documents of this part.
pub(super) const FORMAT: u32 = 1;

/// More than the largest document needs, so that no half of a key is left behind by a buffer that grew.
const ROOM: usize = 16 * 1024;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// The document. One that cannot be understood is as good as none: it is told, and made anew.
pub(super) async fn read<T: DeserializeOwned>(
    state: &State,
    document: &Document,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = state.store.read(document).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            // Line and column only: the words of the error may hold the text.
            warn!(
                document = ?document,
                line = error.line(),
                column = error.column(),
                "a document of the state directory cannot be understood; it is made anew"
            );
            Ok(None)
        }
    }
}

pub(super) async fn write<T: Serialize>(
    state: &State,
    document: &Document,
    value: &T,
) -> Result<(), StoreError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *bytes, value).map_err(|error| StoreError {
        place: format!("{document:?}"),
        text: error.to_string(),
    })?;
    state.store.write(document, &bytes).await
}

pub(super) fn trouble(error: &StoreError, authority: Option<&Authority>) -> IssueError {
    IssueError {
        class: IssueFault::State,
        authority: authority
            .map(|authority| authority.name.clone())
            .unwrap_or_default(),
        text: error.to_string(),
        remedy: "make room on the disk of `state_dir`, and let h2gate write to it".to_owned(),
        retry_after: None,
    }
}
