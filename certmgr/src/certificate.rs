//! The story of a certificate: plan → (lease) → fetch or issue → parse → prove → keep → publish → report → plan.
//!
//! There are two stories: [`run_fetched`](crate::fetched::run_fetched) reads what somebody else renews, and
//! [`Ordered`] renews one at a CA. Both start with the version that served last, and both end in the same steps, which are in this file:
//! [`Core::examine`] (parse, prove), [`Core::promote`] (keep, publish, report).
//!
//! Proving runs on the blocking pool (a handshake costs milliseconds); deciding runs here. If any step fails, the
//! serving bundle goes on serving.

mod accept;
mod anchored;
mod attempt;
mod check;
mod command;
mod expiry;
mod fetched;
mod keeping;
mod leftovers;
mod ordered;
mod orders;
mod reports;
mod revocation;
mod shared;
mod view;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use certstore::{CertBundle, Fingerprint, Proved, Reader, Rejection, Requirements, Serving, UnixTime, prove};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::blocking;
use crate::clock::Expiry;
use crate::command::Command;
use crate::config::CertificateConfig;
use crate::debounce::SourceFailureStreak;
use crate::error::{Error, Reason};
use crate::event::EventKind;
use crate::kept::{Kept, KeptVersion, Origin, hex};
use crate::options::Options;
use crate::pair::{Content, Pair};
use crate::publish::Publisher;
use crate::revocations::Revocations;
use crate::stage::Stage;
use crate::view::{LastError, NextStep, View};

use keeping::KeptState;

pub use check::{Summary, Unread, check, unread};
pub(crate) use leftovers::{Leftover, clear};
pub(crate) use ordered::Ordered;
pub(crate) use orders::{Ordering, Orders};
pub(crate) use view::first as first_view;

/// A task's channels to the outside.
#[derive(Debug)]
pub(crate) struct Channels {
    /// Commands of operators.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// The state that operators see.
    pub(crate) view: watch::Sender<View>,
    /// The stage reached since the start.
    pub(crate) stage: watch::Sender<Stage>,
}

/// One certificate, and all that its task knows about it whichever way it is renewed.
///
/// The task ([`run_fetched`](crate::fetched::run_fetched) or [`Ordered::run`]) owns it alone; others reach it through
/// [`Channels`]. It promises that the serving bundle goes on serving if any step fails, that only a proved bundle takes its place, and that commands
/// are answered during long waits ([`Core::meanwhile`]). Errors do not leave the task: they become events, the view,
/// and the refusal in the store. The task may be aborted at every `await`: each document on disk stays whole, the next
/// task continues an order from its note, and a command without an answer ends in
/// [`CommandError::Gone`](crate::command::CommandError::Gone).
pub(crate) struct Core {
    config: Arc<CertificateConfig>,
    publisher: Publisher<CertBundle>,
    reader: Reader,
    options: Arc<Options>,
    channels: Channels,
    /// Time at which the change that is examined was seen.
    seen_at: Instant,
    /// Content of the serving pair.
    content: Option<Content>,
    /// Content of an excluded version, once the source has brought it.
    excluded_content: Option<Content>,
    kept: Kept,
    keeping: KeptState,
    failure_streak: SourceFailureStreak,
    failing: Option<LastError>,
    reported_expiry: Option<(Fingerprint, Expiry)>,
    last_success_at: Option<UnixTime>,
    /// An operator wants a new certificate now, and no attempt has begun yet.
    renewal_requested: bool,
    /// Time of the last such wish.
    renewal_requested_at: Option<UnixTime>,
    /// For an ordered certificate: an attempt for a wish has begun, and none has fulfilled it yet.
    renewal_pending: bool,
    /// `None`: the certificate is fetched, or there is no state directory.
    orders: Option<Arc<Orders>>,
    /// `None`: there is no state directory.
    revocations: Option<Arc<Revocations>>,
    /// Marked when another trust bundle comes into force.
    trust_changes: watch::Receiver<()>,
}

/// Result of the examination of a pair.
enum Examination {
    /// The pair serves already.
    Unchanged,
    /// An operator rolled back from the pair, or wants it revoked.
    Excluded(Fingerprint, Content),
    /// Another pair, which may serve.
    New(Box<ProvedPair>),
}

/// Knowledge about a pair's age beside its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Nothing.
    Any,
    /// The pair was ordered after the serving one.
    Newest,
}

/// A proved pair, which may serve.
struct ProvedPair {
    proved: Proved,
    pair: Pair,
}

impl Core {
    pub(crate) fn new(
        config: CertificateConfig,
        publisher: Publisher<CertBundle>,
        reader: Reader,
        options: Arc<Options>,
        orders: Option<Arc<Orders>>,
        revocations: Option<Arc<Revocations>>,
        channels: Channels,
    ) -> Self {
        let trust_changes = publisher.trust_changes();
        Self {
            config: Arc::new(config),
            publisher,
            reader,
            options,
            channels,
            seen_at: Instant::now(),
            content: None,
            excluded_content: None,
            kept: Kept::default(),
            keeping: KeptState::default(),
            failure_streak: SourceFailureStreak::default(),
            failing: None,
            reported_expiry: None,
            last_success_at: None,
            renewal_requested: false,
            renewal_requested_at: None,
            renewal_pending: false,
            orders,
            revocations,
            trust_changes,
        }
    }

    /// Parses and proves, off this thread. A pair that serves already, or is excluded, is not proved again.
    async fn examine(&self, pair: Pair, age: Age) -> Result<Examination, (Reason, Content)> {
        let content = pair.content();
        if self.content == Some(content) {
            return Ok(Examination::Unchanged);
        }
        let mut requirements = match self.requirements() {
            Ok(requirements) => requirements,
            Err(reason) => return Err((reason, content)),
        };
        let now = (self.options.now)();
        let excluded = self.kept.excluded().to_vec();
        let revocations = self.revocations.clone();
        let ended = blocking::prove(move || {
            let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
            let fingerprint = bundle.fingerprint();
            let is_wanted = |revocations: Arc<Revocations>| revocations.is_wanted(fingerprint);
            if excluded.contains(&hex(fingerprint)) || revocations.is_some_and(is_wanted) {
                return Ok(Examination::Excluded(fingerprint, content));
            }
            let serving = requirements
                .serving
                .as_ref()
                .map(|serving| serving.bundle().not_before());
            requirements.from_ca = age == Age::Newest;
            // CAs date back by an hour or by the whole day: a chain from another CA may look older.
            requirements.allow_rollback |=
                age == Age::Newest && serving.is_some_and(|at| bundle.not_before() < at);
            let proved = prove(bundle, &requirements, now)?;
            Ok(Examination::New(Box::new(ProvedPair { proved, pair })))
        });
        ended
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
            .map_err(|reason| (reason, content))
    }

    fn requirements(&self) -> Result<Requirements, Reason> {
        let anchors = match &self.config.trust {
            None => Vec::new(),
            Some(trust) => self
                .reader
                .anchors(trust)
                .ok_or_else(|| Reason::NoAnchors { trust: trust.clone() })?,
        };
        Ok(Requirements {
            alpn: self.options.alpn.clone(),
            domains: self.config.domains.clone(),
            serving: self.serving(),
            allow_rollback: self.config.allow_rollback,
            anchors,
            ..Requirements::default()
        })
    }

    /// Keeps the pair on disk, makes it serve, and reports it. True if it is kept; it serves in any case.
    async fn promote(&mut self, candidate: ProvedPair, origin: Origin) -> bool {
        let ProvedPair { proved, pair } = candidate;
        let bundle = Arc::clone(proved.bundle());
        let content = pair.content();
        let version = KeptVersion::new(
            &bundle,
            pair,
            self.config.source.kind(),
            origin,
            (self.options.now)(),
        );
        self.kept.promote(version);
        let kept = self.write_kept().await;
        // `None`: a reload has replaced this task, which is about to be aborted.
        let Some(installed) = self.publisher.install(proved) else {
            return kept.is_ok();
        };
        self.wake_revocations();
        self.content = Some(content);
        self.failing = None;
        self.show_state();
        if installed.changed {
            self.report_promoted(installed.install, &bundle);
        }
        self.note_keeping(kept)
    }

    fn report_promoted(&self, install: u64, bundle: &CertBundle) {
        self.publisher.report(EventKind::Promoted {
            fingerprint: bundle.fingerprint(),
            install,
            names: bundle.names().to_vec(),
            key_kind: bundle.key_kind(),
            not_after: bundle.not_after(),
            warnings: bundle.warnings().to_vec(),
            took: self.seen_at.elapsed(),
        });
    }

    /// Runs work that does not need this certificate; meanwhile, carries out commands and applies changes by other
    /// processes.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let look = self.next_look();
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(command) = self.channels.commands.recv() => self.carry_out(command).await,
                () = sleep_until(look) => self.look_again().await,
            }
        }
    }

    /// Notes that the source holds the serving pair.
    fn note_success(&mut self) {
        self.last_success_at = Some((self.options.now)());
        self.failing = None;
        self.renewal_pending = false;
        self.show_state();
        if self.failure_streak.end() {
            self.publisher.clear_refusal();
            if let Some(serving) = self.serving() {
                self.publisher.report(EventKind::Recovered {
                    fingerprint: serving.fingerprint(),
                });
            }
        }
        self.reach_loaded();
    }

    fn reach_loaded(&self) {
        Stage::Loaded.reach(&self.channels.stage);
    }

    /// Shows on admin pages the reason why the newest candidate does not serve.
    fn show_refusal(&self, error: &Error) {
        self.publisher.refuse(Rejection {
            message: error.to_string(),
            at: (self.options.now)(),
        });
    }

    fn show(&self, next: NextStep) {
        self.channels.view.send_modify(|view| self.update(view, next));
    }

    /// True if the version is to be revoked, or is: it must not serve again after another one.
    fn is_to_be_revoked(&self, fingerprint: Fingerprint) -> bool {
        (self.revocations.as_ref()).is_some_and(|all| all.is_wanted(fingerprint))
    }

    /// True if the version's CA has revoked it.
    fn is_revoked(&self, fingerprint: Fingerprint) -> bool {
        (self.revocations.as_ref()).is_some_and(|all| all.is_revoked(fingerprint))
    }

    fn serving(&self) -> Option<Arc<Serving>> {
        self.reader.current(self.publisher.name())
    }
}

/// Parses and proves a pair, off this thread.
async fn prove_pair(pair: Pair, requirements: Requirements, now: UnixTime) -> Result<Proved, Reason> {
    let proved = blocking::prove(move || {
        let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
        Ok(prove(bundle, &requirements, now)?)
    });
    let proved = proved.await;
    proved.unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
}
