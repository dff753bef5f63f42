//! Wishes of operators to revoke: a durable list, one document for each wish, carried out by any running process.
//!
//! A wish holds all that its CA needs, so it outlives the certificate's place in the configuration and among
//! the kept versions. The CA is asked once the certificate is replaced, on disk too, or no process serves it. A wish
//! ends by the CA's answer or with the certificate's life; until then a revoked certificate stays listed, so that it
//! never serves again, in no process.

mod going;
mod holding;
mod sight;
pub(crate) mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certstore::{Fingerprint, Reader, UnixTime};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::acme::Issuers;
use crate::clock::Clock;
use crate::error::IssueFault;
use crate::event::{EventKind, Reporter};
use crate::lease::Standby;
use crate::state::State;
use crate::store::{Document, REVOCATIONS, STATE_DEADLINE, StoreError, disk};
use crate::view::{Progress, Revocation};

pub(crate) use holding::{Configured, ServePermit};
use holding::{Obstacle, Share};
use sight::Sight;
pub(crate) use wish::Wish;

/// Time between two reads of the list: another process may have noted something.
const LOOK: Duration = Duration::from_secs(60);

/// The list in the knowledge of this process. One in a process.
pub(crate) struct Revocations {
    state: State,
    issuers: Issuers,
    reader: Reader,
    now: Clock,
    reporter: Reporter,
    listed: Mutex<BTreeMap<Fingerprint, Listed>>,
    /// Names of existing documents that cannot be read: the fingerprint of each, in hex.
    unread: Mutex<BTreeSet<String>>,
    /// The share by which other processes see that this one runs.
    counted: tokio::sync::Mutex<Option<Arc<dyn Standby>>>,
    sight: tokio::sync::Mutex<Sight>,
    /// Held while the list on disk is read or added to.
    disk: tokio::sync::Mutex<()>,
    loaded: watch::Sender<bool>,
    wake: Notify,
}

/// A wish, and its progress in this process.
#[derive(Debug)]
struct Listed {
    wish: Wish,
    known_since: Instant,
    /// The certificate serves here, or would again after a restart.
    share: Option<Share>,
    /// The certificate served here, and another one with all its names has taken its place, on disk too.
    is_replaced: bool,
    obstacle: Option<Obstacle>,
    /// Earliest instant of the next attempt.
    not_before: Option<Instant>,
    next_at: Option<UnixTime>,
    message: Option<String>,
    /// Instant since which the certificate is past its end, by the wall clock.
    over_since: Option<Instant>,
    rest: Duration,
    reported: Option<IssueFault>,
}

impl Listed {
    fn new(wish: Wish, share: Option<Share>) -> Self {
        Self {
            wish,
            known_since: Instant::now(),
            share,
            is_replaced: false,
            obstacle: None,
            not_before: None,
            next_at: None,
            message: None,
            over_since: None,
            rest: Duration::ZERO,
            reported: None,
        }
    }
}

impl Revocations {
    pub(crate) fn new(
        state: State,
        issuers: Issuers,
        reader: Reader,
        now: Clock,
        reporter: Reporter,
    ) -> Self {
        Self {
            state,
            issuers,
            reader,
            now,
            reporter,
            listed: Mutex::default(),
            unread: Mutex::default(),
            counted: tokio::sync::Mutex::default(),
            sight: tokio::sync::Mutex::default(),
            disk: tokio::sync::Mutex::default(),
            loaded: watch::Sender::new(false),
            wake: Notify::new(),
        }
    }

    /// Notes a wish. Once this is `Ok` it survives a crash, the certificate's removal, and further wishes. Another
    /// one for the same version takes its place, and is tried at once, or when the CA's own limit allows.
    pub(crate) async fn add(&self, wish: Wish) -> Result<(), StoreError> {
        let _disk = self.disk.lock().await;
        let before = self
            .listed()
            .get(&wish.fingerprint)
            .and_then(|one| one.wish.said.clone());
        let wish = Wish {
            said: before.filter(|said| !said.is_refusal),
            ..wish
        };
        // One that could not be taken is tried again as soon as the wish is listed.
        let share = self.share_of(wish.fingerprint).await.unwrap_or_default();
        self.write(&wish).await?;
        self.listed().insert(wish.fingerprint, Listed::new(wish, share));
        self.wake();
        Ok(())
    }

    /// True if the certificate must not serve any more, once another one does.
    pub(crate) fn is_wanted(&self, fingerprint: Fingerprint) -> bool {
        self.listed().contains_key(&fingerprint) || self.unread().contains(&name_of(fingerprint))
    }

    /// True if its CA has revoked the certificate.
    pub(crate) fn is_revoked(&self, fingerprint: Fingerprint) -> bool {
        let listed = self.listed();
        listed
            .get(&fingerprint)
            .is_some_and(|one| one.wish.revoked_at.is_some())
    }

    /// All wishes, in the order in which they were made.
    pub(crate) fn views(&self) -> Vec<Revocation> {
        let mut views: Vec<_> = self.listed().values().map(|one| self.view(one)).collect();
        views.sort_by_key(|view| (view.asked_at, view.fingerprint));
        views
    }

    fn view(&self, known: &Listed) -> Revocation {
        let wish = &known.wish;
        let progress = if wish.revoked_at.is_some() {
            Progress::Revoked
        } else if self.serves(wish.fingerprint) || known.obstacle == Some(Obstacle::Elsewhere) {
            Progress::Serving
        } else if wish.said.as_ref().is_some_and(|said| said.is_refusal) {
            Progress::Refused
        } else {
            Progress::Asking
        };
        let is_open = matches!(progress, Progress::Asking | Progress::Refused);
        let said = || wish.said.as_ref().map(|said| said.text.clone());
        let waits = known.waits().map(str::to_owned);
        let message = match progress {
            Progress::Revoked => None,
            Progress::Serving => waits.filter(|_| !self.serves(wish.fingerprint)),
            Progress::Asking | Progress::Refused => waits.or_else(|| known.message.clone()).or_else(said),
        };
        Revocation {
            certificate: wish.certificate.clone(),
            fingerprint: wish.fingerprint,
            ca: wish.ca.name.clone(),
            reason: wish.reason,
            asked_at: wish.asked_at,
            progress,
            message,
            next_at: known.next_at.filter(|_| is_open),
        }
    }

    fn serves(&self, fingerprint: Fingerprint) -> bool {
        let serves =
            |status: certstore::Status| status.serving.is_some_and(|one| one.fingerprint() == fingerprint);
        self.reader.list().into_iter().any(serves)
    }

    /// Reads the list again. If the list or a document cannot be read, the knowledge about it stays.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _disk = self.disk.lock().await;
        let names = self.state.store.names(REVOCATIONS).await?;
        let (mut found, mut unread) = (Vec::new(), BTreeSet::new());
        for name in names {
            match self.read(&name).await {
                Ok(wish) => found.extend(wish),
                Err(error) => {
                    if !self.unread().contains(&name) {
                        let (wish, error) = (name.clone(), error.to_string());
                        self.reporter
                            .of_manager(EventKind::WishUnreadable { wish, error });
                    }
                    unread.insert(name);
                }
            }
        }
        let mut listed = self.listed();
        listed.retain(|fingerprint, _| {
            unread.contains(&name_of(*fingerprint))
                || found.iter().any(|wish| wish.fingerprint == *fingerprint)
        });
        *self.unread() = unread;
        for wish in found {
            match listed.get_mut(&wish.fingerprint) {
                Some(known) => {
                    if wish.said.is_some() && known.wish.said != wish.said {
                        known.said_since();
                    }
                    known.wish = wish;
                }
                None => {
                    listed.insert(wish.fingerprint, Listed::new(wish, None));
                }
            }
        }
        Ok(())
    }

    /// Waits until the list has been read for the first time, or could not be.
    pub(crate) async fn loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        let _ = timeout(STATE_DEADLINE, loaded.wait_for(|loaded| *loaded)).await;
    }

    /// Starts a round: a replacement serves, or a certificate is gone.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// `None`: there is no such document.
    async fn read(&self, name: &str) -> Result<Option<Wish>, StoreError> {
        let bytes = self
            .state
            .store
            .read(&Document::Revocation(name.to_owned()))
            .await?;
        let wish = bytes.map(|bytes| parse(&bytes, name)).transpose();
        wish.map_err(|text| StoreError::new(name, format!("it {text}")))
    }

    async fn write(&self, wish: &Wish) -> Result<(), StoreError> {
        let bytes = wish
            .to_json()
            .map_err(|error| StoreError::new(&wish.certificate, error))?;
        self.state.store.write(&document(wish.fingerprint), &bytes).await
    }

    fn unread(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, Listed>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts on the wish if it is still listed.
    fn with<T>(&self, fingerprint: Fingerprint, act: impl FnOnce(&mut Listed) -> T) -> Option<T> {
        self.listed().get_mut(&fingerprint).map(act)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("listed", &self.listed().len())
            .finish_non_exhaustive()
    }
}

/// The wish to revoke this certificate in a state directory, or the reason why it cannot be read, without opening the
/// state. Blocks.
pub(crate) fn wish_now(state_dir: &Path, fingerprint: Fingerprint) -> Result<Option<Wish>, String> {
    read_now(state_dir, &name_of(fingerprint))
}

/// The wishes of a state directory that cannot be read: the name of each, and the reason. Blocks.
pub(crate) fn unread_now(state_dir: &Path) -> Vec<(Document, String)> {
    // A directory that cannot be read is reported on its own.
    let names = disk::names_now(state_dir, REVOCATIONS).unwrap_or_default();
    let unread = names.into_iter().filter_map(|name| {
        let text = read_now(state_dir, &name).err()?;
        Some((Document::Revocation(name), text))
    });
    unread.collect()
}

fn read_now(state_dir: &Path, name: &str) -> Result<Option<Wish>, String> {
    let bytes = disk::read_now(state_dir, &Document::Revocation(name.to_owned()));
    let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
    bytes.map(|bytes| parse(&bytes, name)).transpose()
}

/// Reads a wish, and checks that it is about the certificate that its document's name says.
fn parse(bytes: &[u8], name: &str) -> Result<Wish, String> {
    let wish = Wish::parse(bytes).map_err(|error| error.to_string())?;
    match name_of(wish.fingerprint) == name {
        true => Ok(wish),
        false => Err("is not about what its name says".to_owned()),
    }
}

fn document(fingerprint: Fingerprint) -> Document {
    Document::Revocation(name_of(fingerprint))
}

/// The name of a wish's document: the fingerprint in hex, whole.
fn name_of(fingerprint: Fingerprint) -> String {
    format!("{fingerprint:x}")
}
