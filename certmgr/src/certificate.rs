//! THE STORY of a certificate: plan → (lease) → fetch or issue → parse → prove → keep → publish → tell → plan.
//!
//! It is told twice, for there are two ways to a certificate: [`keep`] fetches what somebody else renews, and
//! [`order`] renews it at a CA. Both start with what served last, and both end in the same steps, which are in
//! this file: [`Certificate::examine`] (parse, prove), [`Certificate::promote`] (keep, publish, tell).
//!
//! Proving runs on the blocking pool (a handshake costs milliseconds); deciding runs here. Whatever step fails,
//! what serves goes on serving.

mod attempt;
mod command;
mod expiry;
mod fetched;
mod kept;
mod ordered;
pub(crate) mod trouble;
mod view;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use certstore::{
    CertBundle, Generation, KeyKind, Name, Profile, Proved, Reader, Refusal, Serving, UnixTime, Warning,
    prove,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::config::{CertificateConfig, Options, Source};
use crate::control::{Command, NextStep, View};
use crate::error::{Error, Reason, RemoteFault};
use crate::event::Event;
use crate::source::{Content, Pair, file};
use crate::store::{Document, Store, StoreError};
use crate::supervisor::Post;

use expiry::Expiry;
use kept::{Kept, Origin, Version, hex};
use trouble::Trouble;
use view::Failing;

pub(crate) use fetched::keep;
pub(crate) use ordered::{Ordering, Orders, order};
pub(crate) use view::first as first_view;

/// The state directory is waited for so long, when it is read at the start and at each write.
const STATE_DEADLINE: Duration = Duration::from_secs(10);

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

/// Reads a certificate's files once and proves them, as the task would at its start. Installs nothing. Blocks.
///
/// What comes from elsewhere is an error that says so: nothing is asked over the network.
pub fn check(config: &CertificateConfig, now: UnixTime) -> Result<Summary, Error> {
    let Source::Files(files) = &config.source else {
        return Err(Error {
            places: vec![config.name.clone()],
            reason: Reason::Remote {
                fault: RemoteFault::Configuration,
                text: format!(
                    "comes from {} and is not asked for by a check",
                    config.source.kind()
                ),
            },
        });
    };
    let profile = Profile {
        domains: config.domains.clone(),
        ..Profile::default()
    };
    let pair = file::read(files)?;
    let proved = CertBundle::parse(&pair.chain, &pair.key)
        .map_err(|error| Error::bundle(files, error))
        .and_then(|bundle| prove(bundle, &profile, now).map_err(|error| Error::prove(files, error)))?;
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

/// A certificate's lines to the outside.
#[derive(Debug)]
pub(crate) struct Lines {
    /// What operators ask for.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// What they see.
    pub(crate) view: watch::Sender<View>,
    /// Whether the first read has ended.
    pub(crate) loaded: watch::Sender<bool>,
}

/// One certificate and what its task knows about it.
pub(crate) struct Certificate {
    config: Arc<CertificateConfig>,
    post: Post,
    reader: Reader,
    options: Arc<Options>,
    lines: Lines,
    /// When the change that is being looked at was seen.
    seen_at: Instant,
    /// The content that serves.
    content: Option<Content>,
    /// The content that is held back, once it has been met.
    held: Option<Content>,
    kept: Kept,
    keeping: Keeping,
    trouble: Trouble,
    failing: Option<Failing>,
    expiry_told: Option<(Generation, Expiry)>,
    last_success_at: Option<UnixTime>,
    /// Somebody wants a new one now, and nothing has been done about it yet.
    asked: bool,
    /// For one that is ordered.
    orders: Option<Arc<Orders>>,
}

/// Whether the disk has what [`Certificate::kept`] holds.
#[derive(Debug, Default)]
struct Keeping {
    /// It does not.
    behind: bool,
    told: bool,
    /// A write that was given up waiting for. No second one is begun beside it.
    running: Option<JoinHandle<Result<(), StoreError>>>,
}

/// What a look at a pair brings.
enum Found {
    /// It is what serves.
    Unchanged,
    /// It is what an operator rolled back from.
    HeldBack(Generation, Content),
    /// Something else, and that may serve.
    New(Box<Candidate>),
}

/// A pair that may serve.
struct Candidate {
    proved: Proved,
    pair: Pair,
}

impl Certificate {
    pub(crate) fn new(
        config: CertificateConfig,
        post: Post,
        reader: Reader,
        options: Arc<Options>,
        lines: Lines,
    ) -> Self {
        Self {
            config: Arc::new(config),
            post,
            reader,
            options,
            lines,
            seen_at: Instant::now(),
            content: None,
            held: None,
            kept: Kept::default(),
            keeping: Keeping::default(),
            trouble: Trouble::default(),
            failing: None,
            expiry_told: None,
            last_success_at: None,
            asked: false,
            orders: None,
        }
    }

    /// Reads what is kept, and serves the newest version of it that still can, also when it has expired. Unless
    /// something serves already: then this task replaces another one.
    async fn restore(&mut self) {
        let Some(store) = self.store() else { return };
        let document = self.document();
        let (kept, broken) = match load(store, &document).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return,
            Err(text) => return self.tell_broken(text),
        };
        for text in broken {
            self.tell_broken(text);
        }
        self.kept = kept;
        if let Some(serving) = self.serving() {
            self.content = self.kept.version(serving.generation()).map(Version::content);
            return;
        }
        for version in std::mem::take(&mut self.kept.versions) {
            if self.content.is_none() {
                match self.prove_kept(&version.pair).await {
                    Ok(proved) => self.publish_kept(proved, &version),
                    Err(reason) => self.tell_broken(format!(
                        "generation {} is kept and cannot serve: {reason}",
                        version.generation()
                    )),
                }
            }
            self.kept.versions.push(version);
        }
    }

    /// What has served may serve again: it is held neither to today's date nor to names that have been
    /// configured since.
    async fn prove_kept(&self, pair: &Pair) -> Result<Proved, Reason> {
        let profile = Profile {
            alpn: self.options.alpn.clone(),
            ..Profile::default()
        };
        let pair = copy(pair);
        let proved = spawn_blocking(move || {
            let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
            let born = bundle.not_before();
            Ok(prove(bundle, &profile, born)?)
        });
        proved
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
    }

    fn publish_kept(&mut self, proved: Proved, version: &Version) {
        let Some(installed) = self.post.install(proved) else {
            return;
        };
        self.content = Some(version.content());
        self.post.tell(Event::Restored {
            name: Arc::clone(self.post.name()),
            generation: installed.generation,
            not_after: version.facts.not_after,
        });
    }

    /// Parses and proves, off this thread. What serves already, or is held back, is not proved again.
    async fn examine(&self, pair: Pair) -> Result<Found, (Reason, Content)> {
        let content = pair.content();
        if self.content == Some(content) {
            return Ok(Found::Unchanged);
        }
        let profile = match self.profile() {
            Ok(profile) => profile,
            Err(reason) => return Err((reason, content)),
        };
        let now = (self.options.now)();
        let held = self.kept.held_back().to_vec();
        let ended = spawn_blocking(move || {
            let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
            let generation = bundle.generation();
            if held.contains(&hex(generation)) {
                return Ok(Found::HeldBack(generation, content));
            }
            let proved = prove(bundle, &profile, now)?;
            Ok(Found::New(Box::new(Candidate { proved, pair })))
        });
        ended
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
            .map_err(|reason| (reason, content))
    }

    fn profile(&self) -> Result<Profile, Reason> {
        let anchors = match &self.config.trust {
            None => Vec::new(),
            Some(trust) => self
                .reader
                .anchors(trust)
                .ok_or_else(|| Reason::NoAnchors { trust: trust.clone() })?,
        };
        Ok(Profile {
            alpn: self.options.alpn.clone(),
            domains: self.config.domains.clone(),
            serving: self.serving(),
            allow_rollback: self.config.allow_rollback,
            anchors,
            ..Profile::default()
        })
    }

    /// Keeps the pair on disk, makes it serve, and says so. True if it is kept; it serves in any case.
    async fn promote(&mut self, candidate: Candidate, origin: Origin) -> bool {
        let Candidate { proved, pair } = candidate;
        let bundle = Arc::clone(proved.bundle());
        let content = pair.content();
        let version = Version::new(
            &bundle,
            pair,
            self.config.source.kind(),
            origin,
            (self.options.now)(),
        );
        self.kept.promote(version);
        let kept = self.write_kept().await;
        // `None`: a reload has replaced this task, which is about to be aborted.
        let Some(installed) = self.post.install(proved) else {
            return kept.is_ok();
        };
        self.content = Some(content);
        if installed.changed {
            self.post.tell(Event::Promoted {
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
        self.note_keeping(kept)
    }

    /// Writes what the disk does not have yet. True if it has everything now.
    async fn keep_again(&mut self) -> bool {
        if !self.keeping.behind {
            return true;
        }
        let kept = self.write_kept().await;
        self.note_keeping(kept)
    }

    async fn write_kept(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store() else { return Ok(()) };
        self.keeping.behind = true;
        let document = self.document();
        let bytes = self.kept.to_json().map_err(|error| StoreError {
            place: self.config.name.clone(),
            text: error.to_string(),
        })?;
        if let Some(mut earlier) = self.keeping.running.take()
            && timeout(STATE_DEADLINE, &mut earlier).await.is_err()
        {
            self.keeping.running = Some(earlier);
            return Err(hanging(&self.config.name));
        }
        let mut running = tokio::spawn(async move { store.write(&document, &bytes).await });
        match timeout(STATE_DEADLINE, &mut running).await {
            Ok(ended) => ended.unwrap_or_else(|panicked| {
                Err(StoreError {
                    place: self.config.name.clone(),
                    text: panicked.to_string(),
                })
            })?,
            Err(_) => {
                self.keeping.running = Some(running);
                return Err(hanging(&self.config.name));
            }
        }
        self.keeping.behind = false;
        Ok(())
    }

    /// True if the disk has everything.
    fn note_keeping(&mut self, kept: Result<(), StoreError>) -> bool {
        let Some(serving) = self.serving() else {
            return kept.is_ok();
        };
        let (name, generation) = (Arc::clone(self.post.name()), serving.generation());
        match kept {
            Ok(()) if self.keeping.told => {
                self.keeping.told = false;
                self.post.tell(Event::Kept { name, generation });
                true
            }
            Ok(()) => true,
            Err(error) => {
                if !self.keeping.told {
                    self.keeping.told = true;
                    self.post.tell(Event::KeepFailed {
                        name,
                        generation,
                        text: format!("{error} (free space in `state_dir`, or let h2gate write there)"),
                    });
                }
                false
            }
        }
    }

    /// Runs something that does not need this certificate, and does what operators ask for meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(command) = self.lines.commands.recv() => self.obey(command).await,
            }
        }
    }

    /// The source holds what serves.
    fn well(&mut self) {
        self.last_success_at = Some((self.options.now)());
        self.failing = None;
        if self.trouble.end() {
            self.post.clear_refusal();
            if let Some(serving) = self.serving() {
                self.post.tell(Event::Recovered {
                    name: Arc::clone(self.post.name()),
                    generation: serving.generation(),
                });
            }
        }
        self.loaded();
    }

    fn loaded(&self) {
        self.lines.loaded.send_replace(true);
    }

    /// What an admin page shows as the reason why the newest candidate does not serve.
    fn show_refusal(&self, error: &Error) {
        self.post.refuse(Refusal {
            message: error.to_string(),
            at: (self.options.now)(),
        });
    }

    fn tell_broken(&self, text: String) {
        let name = Arc::clone(self.post.name());
        self.post.tell(Event::KeptBroken { name, text });
    }

    fn show(&self, next: NextStep) {
        self.lines.view.send_modify(|view| self.update(view, next));
    }

    fn serving(&self) -> Option<Arc<Serving>> {
        self.reader.current(self.post.name())
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.options.state.as_ref().map(|state| Arc::clone(&state.store))
    }

    fn document(&self) -> Document {
        Document::Certificate(self.config.name.clone())
    }
}

/// Reads what is kept of a certificate, and the texts about what of it is broken. The text of an error says
/// where.
async fn load(store: Arc<dyn Store>, document: &Document) -> Result<Option<(Kept, Vec<String>)>, String> {
    let read = timeout(STATE_DEADLINE, store.read(document)).await;
    let bytes = match read {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("what is kept of it cannot be read: the disk does not answer".to_owned()),
    };
    spawn_blocking(move || Kept::parse(&bytes))
        .await
        .unwrap_or_else(|panicked| Err(panicked.to_string()))
        .map(|(kept, broken)| {
            let told = broken
                .into_iter()
                .map(|text| format!("what is kept of it, {text}"));
            Some((kept, told.collect()))
        })
        .map_err(|text| format!("what is kept of it {text}"))
}

fn copy(pair: &Pair) -> Pair {
    Pair {
        chain: pair.chain.clone(),
        key: pair.key.clone(),
    }
}

fn hanging(name: &str) -> StoreError {
    StoreError {
        place: name.to_owned(),
        text: format!("the disk gave no answer within {} s", STATE_DEADLINE.as_secs()),
    }
}
