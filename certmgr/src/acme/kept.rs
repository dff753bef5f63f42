//! Documents of the ACME part on disk: JSON, with secrets in it.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::client::Shared;
use crate::event::EventKind;
use crate::store::{Document, DocumentError, StoreError, decode};

/// The version of the documents of this part.
pub(super) const FORMAT: u32 = 1;

/// Initial size of the buffer for a document: more than the largest one needs (an order of a hundred long names), so
/// that no buffer grows and leaves a half of a key behind.
pub(super) const ROOM: usize = 128 * 1024;

/// A text that `Debug` does not show.
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

/// Reads a document. One that cannot be parsed counts as none: it is logged, and made anew.
pub(super) async fn read<T: DeserializeOwned>(
    shared: &Shared,
    document: &Document,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = in_step(shared.store.read(document)).await? else {
        return Ok(None);
    };
    match decode(&bytes, FORMAT) {
        Ok(value) => Ok(Some(value)),
        Err(DocumentError::Broken(text)) => {
            let place = format!("{document:?} {text}");
            shared.reporter.of_manager(EventKind::DocumentBroken { place });
            Ok(None)
        }
        Err(newer @ DocumentError::Newer { .. }) => Err(StoreError::new(
            format!("{document:?}"),
            format!("it {newer}; run the newer h2gate again, or give this one another `state_dir`"),
        )),
    }
}

pub(super) async fn write<T: Serialize>(
    shared: &Shared,
    document: &Document,
    value: &T,
) -> Result<(), StoreError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *bytes, value)
        .map_err(|error| StoreError::new(format!("{document:?}"), error))?;
    in_step(shared.store.write(document, &bytes)).await
}

pub(super) async fn remove(shared: &Shared, document: &Document) -> Result<(), StoreError> {
    in_step(shared.store.remove(document)).await
}

#[cfg(not(test))]
async fn in_step<T>(call: impl Future<Output = T>) -> T {
    call.await
}

/// Reads a document; asserts that what is written of it is read as the same.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_document<T: Serialize + DeserializeOwned>(json: &[u8]) -> Option<T> {
    let document: T = serde_json::from_slice(json).ok()?;
    let written = serde_json::to_vec(&document).ok();
    let again: Option<T> = written
        .as_deref()
        .and_then(|json| serde_json::from_slice(json).ok());
    assert_eq!(again.and_then(|again| serde_json::to_vec(&again).ok()), written);
    Some(document)
}

/// Tests drop an order before and after each call.
#[cfg(test)]
async fn in_step<T>(call: impl Future<Output = T>) -> T {
    super::tests::step().await;
    let ended = call.await;
    super::tests::step().await;
    ended
}
