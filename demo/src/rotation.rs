//! Which certificate was written when, and writing the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::authority::Authority;
use super::folder::Folder;
use super::stop::Stop;
use super::tally::Tally;

/// The longest time until fresh handshakes show a written certificate: a changed file is
/// seen within 2 s, and a fresh handshake is never far away.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

/// Certificates remembered; an older one in a handshake counts as unknown, which is a failure.
const MAX_REMEMBERED: usize = 256;

/// The certificates written so far, newest last.
#[derive(Default)]
pub(super) struct Issued(Mutex<VecDeque<Written>>);

struct Written {
    number: u64,
    at: Instant,
    leaf: CertificateDer<'static>,
}

impl Issued {
    fn written(&self) -> MutexGuard<'_, VecDeque<Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, number: u64, leaf: CertificateDer<'static>, at: Instant) {
        let mut written = self.written();
        if written.len() == MAX_REMEMBERED {
            written.pop_front();
        }
        written.push_back(Written { number, at, leaf });
    }

    /// Which of ours a peer has shown.
    pub(super) fn number_of(&self, leaf: &CertificateDer<'_>) -> Option<u64> {
        let written = self.written();
        let shown = written.iter().rev().find(|written| written.leaf == *leaf);
        shown.map(|written| written.number)
    }

    pub(super) fn newest(&self) -> u64 {
        self.written().back().map_or(0, |written| written.number)
    }

    /// The newest that fresh handshakes must have shown by now.
    pub(super) fn due(&self, now: Instant) -> u64 {
        let written = self.written();
        let settled = |written: &&Written| now.duration_since(written.at) >= SETTLING;
        written
            .iter()
            .rev()
            .find(settled)
            .map_or(0, |written| written.number)
    }
}

/// Writes certificates into the demo's folder.
pub(super) struct Rotation {
    authority: Authority,
    folder: Arc<Folder>,
    issued: Arc<Issued>,
}

impl Rotation {
    pub(super) fn new(authority: Authority, folder: Arc<Folder>) -> Self {
        Self {
            authority,
            folder,
            issued: Arc::default(),
        }
    }

    pub(super) fn issued(&self) -> Arc<Issued> {
        Arc::clone(&self.issued)
    }

    /// Writes the next certificate.
    pub(super) fn rotate(&self) -> anyhow::Result<()> {
        let number = self.issued.newest() + 1;
        let pair = self
            .authority
            .issue(number)
            .context("the demo's authority could not issue a certificate")?;
        // Known before it is in place: a handshake may show it in the same instant.
        let leaf = pair.leaf.clone();
        self.issued.add(number, leaf, Instant::now());
        let folder = &self.folder;
        folder
            .swap(number, &pair)
            .with_context(|| format!("cannot write into {}", folder.certificates().display()))
    }

    /// Writes one certificate each period until told to stop.
    pub(super) async fn run(self: Arc<Self>, every: Duration, tally: Arc<Tally>, mut stop: Stop) {
        let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                _ = ticks.tick() => {}
            }
            let writer = Arc::clone(&self);
            let rotated = tokio::task::spawn_blocking(move || writer.rotate()).await;
            if let Err(error) = rotated.map_err(anyhow::Error::from).flatten() {
                tally.failure(&error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(byte: u8) -> CertificateDer<'static> {
        CertificateDer::from(vec![byte; 4])
    }

    #[test]
    fn a_certificate_is_due_once_it_had_time_to_settle() {
        let start = Instant::now();
        let issued = Issued::default();
        assert_eq!((issued.newest(), issued.due(start)), (0, 0));
        issued.add(1, leaf(1), start);
        issued.add(2, leaf(2), start + Duration::from_secs(10));
        assert_eq!(issued.due(start + SETTLING - Duration::from_millis(1)), 0);
        assert_eq!(issued.due(start + SETTLING), 1);
        assert_eq!(issued.due(start + Duration::from_secs(12)), 1);
        assert_eq!(issued.due(start + Duration::from_secs(13)), 2);
        assert_eq!(issued.number_of(&leaf(1)), Some(1));
        assert_eq!(issued.number_of(&leaf(3)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let issued = Issued::default();
        for number in 1..=MAX_REMEMBERED as u64 + 1 {
            issued.add(number, CertificateDer::from(number.to_be_bytes().to_vec()), start);
        }
        let of = |number: u64| issued.number_of(&CertificateDer::from(number.to_be_bytes().to_vec()));
        assert_eq!((of(1), of(2)), (None, Some(2)));
    }

    #[test]
    fn a_swap_shows_the_new_pair_through_the_same_paths_and_removes_the_old() {
        let authority = Authority::new(vec!["localhost".to_owned()]).unwrap();
        let folder = Arc::new(Folder::create(&authority.pem()).unwrap());
        let root = folder.path().to_owned();
        let rotation = Rotation::new(authority, Arc::clone(&folder));
        let read = |name: &str| std::fs::read_to_string(folder.certificates().join(name)).unwrap();
        rotation.rotate().unwrap();
        let first = (read("tls.crt"), read("tls.key"));
        rotation.rotate().unwrap();
        let second = (read("tls.crt"), read("tls.key"));
        assert_ne!(first.0, second.0);
        assert_ne!(first.1, second.1);
        let versions = std::fs::read_dir(folder.certificates())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
        assert_eq!(versions.count(), 1);
        drop((rotation, folder));
        assert!(!root.exists(), "the folder is removed at the end");
    }
}
