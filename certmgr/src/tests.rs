//! The story of certificates as a whole, on real files. This file is the vocabulary.

mod crashes;
mod disorders;
mod doubles;
mod kept;
mod leftovers;
pub(crate) mod lets_encrypt;
mod life;
mod orders;
mod refusals;
mod revocations;
mod shared;
mod swaps;
pub(crate) mod trust;
mod waits;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use certstore::{CertBundle, Fingerprint, Reader, UnixTime, store};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::acme::Issuers;
use crate::supervisor::start_with;
use crate::{CertificateConfig, Clock, Event, EventKind, Handle, Options, Subject};

/// True if full counts are wanted: `H2GATE_PROOF=1`, which `make proof` sets.
pub(crate) fn is_proof() -> bool {
    std::env::var_os("H2GATE_PROOF").is_some_and(|value| value == "1")
}

/// Longest wait of a test for an expected event. Never reached when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// Long enough never to pass within a test: an event has another cause.
const NEVER: Duration = Duration::from_secs(3_600);

const SOON: Duration = Duration::from_millis(20);

/// 2030-06-15T12:00:00Z.
const NOW_SECONDS: u64 = 1_907_755_200;

/// A clock that stands until a test moves it, and counts its readings: at least one for each look
/// at a source.
#[derive(Default)]
struct TestClock {
    days: AtomicU64,
    looks: watch::Sender<u64>,
}

impl TestClock {
    fn clock(self: &Arc<Self>) -> Clock {
        let clock = Arc::clone(self);
        Arc::new(move || {
            clock.looks.send_modify(|looks| *looks += 1);
            let days = clock.days.load(Ordering::Relaxed);
            UnixTime::since_unix_epoch(Duration::from_secs(NOW_SECONDS + days * 86_400))
        })
    }

    fn move_by_days(&self, days: u64) {
        self.days.fetch_add(days, Ordering::Relaxed);
    }

    /// Waits until the source has been looked at so many more times.
    async fn more_looks(&self, count: u64) {
        let mut looks = self.looks.subscribe();
        let enough = *looks.borrow() + count;
        let waited = timeout(DEADLINE, looks.wait_for(|looks| *looks >= enough)).await;
        waited.expect("the source is not looked at").unwrap();
    }
}

pub(crate) fn test_now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW_SECONDS))
}

struct TestCa(CertifiedIssuer<'static, KeyPair>);

#[derive(Clone)]
struct TestPair {
    leaf: String,
    ca: String,
    key: String,
}

impl TestPair {
    fn chain(&self) -> String {
        format!("{}{}", self.leaf, self.ca)
    }

    fn fingerprint(&self) -> Fingerprint {
        CertBundle::parse(self.chain().as_bytes(), self.key.as_bytes())
            .unwrap()
            .fingerprint()
    }
}

impl TestCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pair(&self) -> TestPair {
        self.pair_of("a.test", -30, 60)
    }

    /// A pair that is valid from and until so many days from now.
    fn pair_of(&self, name: &str, from: i64, until: i64) -> TestPair {
        let instant = |days: i64| {
            let seconds = (NOW_SECONDS as i64 + days * 86_400) as u64;
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        self.issue(
            &[name.to_owned()],
            instant(from),
            instant(until),
            &KeyPair::generate().unwrap(),
        )
    }

    fn issue(
        &self,
        names: &[String],
        from: time::OffsetDateTime,
        until: time::OffsetDateTime,
        key: &KeyPair,
    ) -> TestPair {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_before = from;
        params.not_after = until;
        let leaf = params.signed_by(key, &self.0).unwrap().pem();
        TestPair {
            leaf,
            ca: self.0.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Two plain files in a directory.
struct TestFiles {
    directory: TempDir,
}

impl TestFiles {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn chain(&self) -> PathBuf {
        self.directory.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("tls.key")
    }

    fn config(&self) -> CertificateConfig {
        CertificateConfig::from_files("api", self.chain(), self.key())
    }

    fn write(&self, pair: &TestPair) {
        self.write_bytes(pair.chain(), &pair.key);
    }

    fn write_bytes(&self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) {
        fs::write(self.chain(), chain).unwrap();
        fs::write(self.key(), key).unwrap();
    }

    fn rename(&self, pair: &TestPair) {
        for (path, content) in [(self.chain(), pair.chain()), (self.key(), pair.key.clone())] {
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            fs::rename(new, path).unwrap();
        }
    }
}

/// A mounted Secret, laid out and replaced step by step in the way of the kubelet.
struct KubeletVolume {
    directory: TempDir,
    turn: u32,
}

impl KubeletVolume {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            turn: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> CertificateConfig {
        CertificateConfig::from_files("api", self.path("tls.crt"), self.path("tls.key"))
    }

    fn write(&mut self, chain: &str, key: &str) {
        let old = fs::read_link(self.path("..data")).ok();
        self.turn += 1;
        let new = format!("..2030_06_15_12_00_00.{:09}", self.turn);
        fs::create_dir(self.path(&new)).unwrap();
        fs::write(self.path(&new).join("tls.crt"), chain).unwrap();
        fs::write(self.path(&new).join("tls.key"), key).unwrap();
        symlink(&new, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            if !self.path(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.path(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.path(old.to_str().unwrap())).unwrap();
        }
    }
}

/// Running tasks, and their events.
struct TestManager {
    handle: Handle,
    reader: Reader,
    events: mpsc::UnboundedReceiver<Event>,
}

impl TestManager {
    fn start(configs: Vec<CertificateConfig>, options: Options) -> Self {
        Self::start_with(configs, options, None)
    }

    fn start_with(configs: Vec<CertificateConfig>, options: Options, issuers: Option<Issuers>) -> Self {
        let (writer, reader) = store();
        let (sender, events) = mpsc::unbounded_channel();
        let observer = Arc::new(move |event: &Event| {
            if matches!(event.subject, Subject::Certificate(_)) {
                drop(sender.send(event.clone()));
            }
        });
        let options = Options {
            observer: Some(observer),
            ..options
        };
        let handle = start_with(configs, writer, options, issuers);
        Self {
            handle,
            reader,
            events,
        }
    }

    async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("no event in time")
            .unwrap()
    }

    /// The next event of this kind; others before it are skipped.
    async fn told(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.kind.label() == kind {
                return event;
            }
        }
    }

    /// The kinds of the events that were reported and not looked at.
    fn told_since(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .map(|event| event.kind.label())
            .collect()
    }

    async fn promoted(&mut self, pair: &TestPair) -> Duration {
        match self.next().await.kind {
            EventKind::Promoted {
                fingerprint, took, ..
            } => {
                assert_eq!(fingerprint, pair.fingerprint());
                assert_eq!(self.serving(), Some(fingerprint));
                took
            }
            other => panic!("{other:?}"),
        }
    }

    async fn recovered(&mut self, pair: &TestPair) {
        match self.next().await.kind {
            EventKind::Recovered { fingerprint, .. } => assert_eq!(fingerprint, pair.fingerprint()),
            other => panic!("{other:?}"),
        }
    }

    fn serving(&self) -> Option<Fingerprint> {
        self.reader.current("api").map(|serving| serving.fingerprint())
    }
}

/// Only signs of change wake the task.
fn watching() -> Options {
    Options {
        poll: NEVER,
        now: Arc::new(test_now),
        settle: SOON,
        ..Options::default()
    }
}

/// Only the poll wakes the task.
fn polling() -> Options {
    Options {
        poll: SOON,
        watch: false,
        now: Arc::new(test_now),
        settle: SOON,
        ..Options::default()
    }
}
