//! THE STORY of a certificate: plan → read → parse → prove → publish → tell → plan.
//!
//! [`keep`] is the story; the rest of the file are its steps. `trouble.rs` decides what is told of a failure. Reading and proving run on the blocking pool
//! (a network file system may hang, a handshake costs milliseconds); deciding runs here.

mod trouble;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use certstore::{
    CertBundle, Generation, KeyKind, Name, Profile, Proved, Reader, Refusal, UnixTime, Warning, prove,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::{CertificateConfig, Options, Source};
use crate::error::{Error, Reason};
use crate::event::Event;
use crate::source::{Content, Pair, file};
use crate::supervisor::Post;
use crate::watch::{Subscription, Watcher};

use trouble::{Failure, Trouble};

/// After a sign of change: a writer of two files gets this long before they are read.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// How often a reading that was told as hanging is asked whether it is done.
const HANGING_PERIOD: Duration = Duration::from_millis(100);

/// A reading that takes longer is told as hanging. It is not given up, and no second one is begun beside it.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// What serves is told as expiring once less than this part of its life is left.
const LAST_PART_OF_LIFE: u64 = 5;

/// Keeps one certificate served from its source until the task is aborted.
pub(crate) async fn keep(mut certificate: Certificate) {
    loop {
        let outcome = certificate.read_and_prove().await;
        match outcome {
            Ok(Found::Unchanged) => certificate.well(),
            Ok(Found::New(proved, content)) => certificate.publish(proved, content),
            Err(failure) => certificate.fail(*failure),
        }
        certificate.tell_expiry();
        certificate.wait().await;
    }
}

/// What `check` says about a pair that could serve now.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What it is good for.
    pub names: Vec<Name>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// The hash of the chain and the public key.
    pub generation: Generation,
    /// How many certificates the chain has.
    pub chain_len: usize,
    /// What is lawful in it but worth knowing.
    pub warnings: Vec<Warning>,
}

/// Reads a certificate's source once and proves it, as the task would at its start. Installs nothing. Blocks.
pub fn check(config: &CertificateConfig, now: UnixTime) -> Result<Summary, Error> {
    let files = &files_of(&config.source);
    let pair = file::read(files)?;
    let profile = Profile {
        domains: config.domains.clone(),
        ..Profile::default()
    };
    let proved = parse_and_prove(config, &pair, &profile, now)?;
    let bundle = proved.bundle();
    Ok(Summary {
        names: bundle.names().to_vec(),
        not_before: bundle.not_before(),
        not_after: bundle.not_after(),
        key_kind: bundle.key_kind(),
        generation: bundle.generation(),
        chain_len: bundle.chain_len(),
        warnings: bundle.warnings().to_vec(),
    })
}

/// One certificate and what its task knows about it.
pub(crate) struct Certificate {
    config: Arc<CertificateConfig>,
    post: Post,
    reader: Reader,
    options: Arc<Options>,
    changed: Arc<Notify>,
    /// Away while a reading is running.
    subscription: Option<Subscription>,
    running: Option<JoinHandle<Reading>>,
    /// When the change that is being looked at was seen.
    seen_at: Instant,
    /// The content that serves.
    content: Option<Content>,
    trouble: Trouble,
    expiry_told: Option<(Generation, Expiry)>,
    loaded: watch::Sender<bool>,
}

/// What the blocking part gives back.
struct Reading {
    subscription: Option<Subscription>,
    outcome: Result<Found, Box<Failure>>,
}

enum Found {
    /// The source holds what serves.
    Unchanged,
    /// It holds something else, and that may serve.
    New(Proved, Content),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Soon,
    Past,
}

impl Certificate {
    pub(crate) fn new(
        config: CertificateConfig,
        post: Post,
        reader: Reader,
        options: Arc<Options>,
        watcher: Option<Arc<Watcher>>,
        loaded: watch::Sender<bool>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        Self {
            config: Arc::new(config),
            post,
            reader,
            options,
            subscription: watcher.map(|watcher| watcher.subscribe(Arc::clone(&changed))),
            changed,
            running: None,
            seen_at: Instant::now(),
            content: None,
            trouble: Trouble::default(),
            expiry_told: None,
            loaded,
        }
    }

    /// Reads the source, parses and proves, off this thread.
    async fn read_and_prove(&mut self) -> Result<Found, Box<Failure>> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.begin_reading(),
        };
        match timeout(READ_DEADLINE, &mut running).await {
            Ok(Ok(reading)) => {
                self.subscription = reading.subscription;
                reading.outcome
            }
            // The runtime is going down, and this task with it.
            Ok(Err(ended)) if ended.is_cancelled() => pending().await,
            // A panic, which no input may cause. The next turn begins anew, by polling alone.
            Ok(Err(ended)) => Err(self.failure_of_reading(Reason::Internal(ended.to_string()))),
            Err(_) => {
                self.running = Some(running);
                Err(self.failure_of_reading(Reason::Hanging(READ_DEADLINE)))
            }
        }
    }

    fn begin_reading(&mut self) -> JoinHandle<Reading> {
        let config = Arc::clone(&self.config);
        let mut subscription = self.subscription.take();
        let known = self.content;
        let now = (self.options.now)();
        let profile = Profile {
            alpn: self.options.alpn.clone(),
            domains: config.domains.clone(),
            serving: self.reader.current(self.post.name()),
            allow_rollback: config.allow_rollback,
            ..Profile::default()
        };
        tokio::task::spawn_blocking(move || {
            let outcome = read_and_prove(&config, subscription.as_mut(), known, &profile, now);
            Reading {
                subscription,
                outcome,
            }
        })
    }

    fn failure_of_reading(&self, reason: Reason) -> Box<Failure> {
        let files = &files_of(&self.config.source);
        Failure::new(
            Error {
                places: files.both(),
                reason,
            },
            None,
        )
    }

    /// Swaps the store, and says so if it changed anything.
    fn publish(&mut self, proved: Proved, content: Content) {
        let bundle = Arc::clone(proved.bundle());
        // `None`: a reload has replaced this task, which is about to be aborted.
        let Some(installed) = self.post.install(proved) else {
            return;
        };
        self.content = Some(content);
        if installed.changed {
            self.tell(&Event::Promoted {
                name: Arc::clone(self.post.name()),
                generation: installed.generation,
                serial: installed.serial,
                names: bundle.names().to_vec(),
                key_kind: bundle.key_kind(),
                not_after: bundle.not_after(),
                warnings: bundle.warnings().to_vec(),
                took: self.seen_at.elapsed(),
            });
        }
        self.well();
    }

    /// The source holds what serves.
    fn well(&mut self) {
        if self.trouble.end() {
            self.post.clear_refusal();
            if let Some(serving) = self.reader.current(self.post.name()) {
                let generation = serving.generation();
                self.tell(&Event::Recovered {
                    name: Arc::clone(self.post.name()),
                    generation,
                });
            }
        }
        self.loaded.send_replace(true);
    }

    /// Notes a failure, and tells it once it has lasted: a writer may be half-way.
    fn fail(&mut self, failure: Failure) {
        if self.trouble.note(&failure, Instant::now(), self.options.settle) {
            self.tell_trouble(failure.error);
            self.loaded.send_replace(true);
        }
    }

    fn tell_trouble(&self, error: Error) {
        self.post.refuse(Refusal {
            message: error.to_string(),
            at: (self.options.now)(),
        });
        let name = Arc::clone(self.post.name());
        let serving = self.reader.current(&name).map(|serving| serving.generation());
        self.tell(&if error.is_unreadable() {
            Event::Unreadable { name, error, serving }
        } else {
            Event::Refused { name, error, serving }
        });
    }

    fn tell_expiry(&mut self) {
        let Some(serving) = self.reader.current(self.post.name()) else {
            return;
        };
        let (generation, bundle) = (serving.generation(), serving.bundle());
        let now = (self.options.now)().as_secs();
        let (from, until) = (bundle.not_before().as_secs(), bundle.not_after().as_secs());
        let name = Arc::clone(self.post.name());
        let not_after = bundle.not_after();
        let left = until.saturating_sub(now);
        let (expiry, event) = if now > until {
            (
                Expiry::Past,
                Event::Expired {
                    name,
                    generation,
                    not_after,
                },
            )
        } else if left < until.saturating_sub(from) / LAST_PART_OF_LIFE {
            (
                Expiry::Soon,
                Event::ExpiresSoon {
                    name,
                    generation,
                    not_after,
                },
            )
        } else {
            return;
        };
        if self.expiry_told != Some((generation, expiry)) {
            self.expiry_told = Some((generation, expiry));
            self.tell(&event);
        }
    }

    fn tell(&self, event: &Event) {
        event.log();
        if let Some(observer) = &self.options.observer {
            observer(event);
        }
    }

    /// Until the next look: a sign of change, the next retry of something incomplete, or the next poll.
    async fn wait(&mut self) {
        let next = self
            .trouble
            .next_retry()
            .unwrap_or(self.options.poll)
            .min(self.options.poll);
        let next = Instant::now() + next;
        tokio::select! {
            () = self.changed.notified() => {
                self.seen_at = Instant::now();
                sleep(DEBOUNCE).await;
            }
            () = sleep_until(next) => self.seen_at = Instant::now(),
            () = finished(self.running.as_ref()) => self.seen_at = Instant::now(),
        }
    }
}

/// Ends when a reading that had been told as hanging is done after all; never, if there is none.
async fn finished(running: Option<&JoinHandle<Reading>>) {
    match running {
        Some(running) => {
            while !running.is_finished() {
                sleep(HANGING_PERIOD).await;
            }
        }
        None => pending().await,
    }
}

/// The blocking part: watch, then read (so that no change falls between the two), parse, prove.
fn read_and_prove(
    config: &CertificateConfig,
    subscription: Option<&mut Subscription>,
    known: Option<Content>,
    profile: &Profile,
    now: UnixTime,
) -> Result<Found, Box<Failure>> {
    let files = &files_of(&config.source);
    if let Some(subscription) = subscription {
        subscription.follow(&file::directories(files));
    }
    let pair = file::read(files).map_err(|error| Failure::new(error, None))?;
    let content = pair.content();
    if known == Some(content) {
        return Ok(Found::Unchanged);
    }
    match parse_and_prove(config, &pair, profile, now) {
        Ok(proved) => Ok(Found::New(proved, content)),
        Err(error) => Err(Failure::new(error, Some(content))),
    }
}

fn parse_and_prove(
    config: &CertificateConfig,
    pair: &Pair,
    profile: &Profile,
    now: UnixTime,
) -> Result<Proved, Error> {
    let files = &files_of(&config.source);
    let bundle = CertBundle::parse(&pair.chain, &pair.key).map_err(|error| Error::bundle(files, error))?;
    prove(bundle, profile, now).map_err(|error| Error::prove(files, error))
}

fn files_of(source: &Source) -> crate::config::FileSource {
    match source {
        Source::Files(files) => files.clone(),
        Source::S3(_) | Source::SecretsManager(_) | Source::Acme(_) => crate::config::FileSource {
            chain: Default::default(),
            key: Default::default(),
        },
    }
}
