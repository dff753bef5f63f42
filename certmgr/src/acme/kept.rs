//! Documents of the ACME part on disk: JSON, with secrets in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::Ca;
use crate::error::{IssueError, IssueFault};
use crate::event::{EventKind, Reporter};
use crate::store::{BoxFuture, Document, STATE_DEADLINE, Store, StoreError};

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

/// The store, for the documents of the ACME part. Each call ends within [`STATE_DEADLINE`]. A call that the disk
/// delays beyond that, or whose future is dropped, goes on to its end before the next call for the same document
/// begins: the last write is the one that stays.
#[derive(Debug)]
pub(super) struct Shelf {
    store: Arc<dyn Store>,
    reporter: Reporter,
    /// One lock for each document, locked while a call for it is in progress.
    busy: Mutex<HashMap<Document, Arc<tokio::sync::Mutex<()>>>>,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn Store>, reporter: Reporter) -> Self {
        Self {
            store,
            reporter,
            busy: Mutex::default(),
        }
    }

    /// Reads a document. One that cannot be parsed counts as none: it is logged, and made anew.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        document: &Document,
    ) -> Result<Option<T>, StoreError> {
        let read = self.alone(document, |store, document| {
            Box::pin(async move { store.read(&document).await })
        });
        let Some(bytes) = read.await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                // Line and column only: the words of the error may hold the text.
                let (line, column) = (error.line(), error.column());
                let place = format!("{document:?}, line {line}, column {column}");
                self.reporter.of_manager(EventKind::DocumentBroken { place });
                Ok(None)
            }
        }
    }

    pub(super) async fn write<T: Serialize>(&self, document: &Document, value: &T) -> Result<(), StoreError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *bytes, value)
            .map_err(|error| StoreError::new(format!("{document:?}"), error))?;
        self.alone(document, |store, document| {
            Box::pin(async move { store.write(&document, &bytes).await })
        })
        .await
    }

    pub(super) async fn remove(&self, document: &Document) -> Result<(), StoreError> {
        self.alone(document, |store, document| {
            Box::pin(async move { store.remove(&document).await })
        })
        .await
    }

    async fn alone<T: Send + 'static>(
        &self,
        document: &Document,
        act: impl FnOnce(Arc<dyn Store>, Document) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let act = act(Arc::clone(&self.store), document.clone());
        let busy = self.busy(document);
        #[cfg(test)]
        super::tests::step().await;
        let ended = timeout(STATE_DEADLINE, async {
            let alone = busy.lock_owned().await;
            // A task of its own: it keeps the next call out even if nobody waits for this one any more.
            let acting = tokio::spawn(async move {
                let _alone = alone;
                act.await
            });
            acting.await
        });
        let ended = match ended.await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panicked)) => Err(StoreError::new(format!("{document:?}"), panicked)),
            Err(_) => Err(StoreError::hanging(&format!("{document:?}"))),
        };
        #[cfg(test)]
        super::tests::step().await;
        ended
    }

    fn busy(&self, document: &Document) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(busy.entry(document.clone()).or_default())
    }
}

pub(super) fn trouble(error: &StoreError, ca: Option<&Ca>) -> IssueError {
    IssueError {
        class: IssueFault::State,
        ca: ca.map(|ca| ca.name.clone()).unwrap_or_default(),
        text: error.to_string(),
        remedy: "make room on the disk of `state_dir`, and let h2gate write to it".to_owned(),
        retry_after: None,
    }
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

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// A store whose writes wait until the test lets them through.
    #[derive(Debug)]
    struct Slow {
        through: Semaphore,
        written: Mutex<Vec<Vec<u8>>>,
    }

    impl Store for Slow {
        fn read<'a>(
            &'a self,
            _: &'a Document,
        ) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
            Box::pin(async { Ok(None) })
        }

        fn write<'a>(&'a self, _: &'a Document, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async {
                self.through.acquire().await.unwrap().forget();
                self.written.lock().unwrap().push(bytes.to_vec());
                Ok(())
            })
        }

        fn remove<'a>(&'a self, _: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_given_up_and_never_puts_the_older_over_the_newer() {
        let slow = Arc::new(Slow {
            through: Semaphore::new(0),
            written: Mutex::default(),
        });
        let shelf = Shelf::new(Arc::clone(&slow) as Arc<dyn Store>, Reporter::new(None));
        let document = Document::Order("a".to_owned());
        let error = shelf.write(&document, &1).await.unwrap_err();
        assert!(error.text.contains("no answer within 10 s"), "{error}");
        // The first write is still in progress: nothing is read or written beside it, but other documents are.
        let other = Document::Order("b".to_owned());
        assert_eq!(shelf.read::<u8>(&other).await, Ok(None));
        shelf.read::<u8>(&document).await.unwrap_err();
        shelf.write(&document, &2).await.unwrap_err();
        slow.through.add_permits(2);
        shelf.write(&document, &3).await.unwrap();
        assert_eq!(*slow.written.lock().unwrap(), [b"1", b"3"]);
    }
}
