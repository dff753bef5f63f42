//! The story of a trust bundle: read → parse → keep on disk → put into force → report, at each poll and each hint.
//!
//! It begins with the bundle that was in force last. If any step fails, that one stays in force: a lost source removes
//! nobody's trust, and a broken bundle never replaces a good one. Trust bundles and certificates have separate names:
//! one of each may be called the same.

mod age;
mod keeping;
pub(crate) mod kept;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, ProvedTrust, Reader, Rejection, TrustBundle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::blocking;
use crate::clock::Expiry;
use crate::config::{Source, TrustConfig};
use crate::debounce::{FailedAttempt, SourceFailureStreak};
use crate::error::Reason;
use crate::event::EventKind;
use crate::fetched::Fetched;
use crate::options::Options;
use crate::pair::{Content, Pair};
use crate::publish::Publisher;
use crate::stage::Stage;
use crate::store::{Document, disk};

use age::{Ageing, EndingPart};
use keeping::TrustState;

/// Longest time between two looks at the age of the bundle in force, however seldom its source is read.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// One trust bundle and all that its task knows about it.
pub(crate) struct Trust {
    config: TrustConfig,
    publisher: Publisher<TrustBundle>,
    reader: Reader,
    options: Arc<Options>,
    /// The stage reached since the start.
    stage: watch::Sender<Stage>,
    /// Instant at which the change that is examined was seen.
    seen_at: Instant,
    /// Content of the bundle in force.
    content: Option<Content>,
    keeping: TrustState,
    failure_streak: SourceFailureStreak,
    /// The reports on its age that were made.
    ageing: Vec<Ageing>,
}

/// A checked bundle, which may come into force.
struct ProvedTexts {
    proved: ProvedTrust,
    texts: Pair,
}

impl Fetched for Trust {
    fn source(&self) -> &Source {
        &self.config.source
    }

    fn failure_streak(&mut self) -> &mut SourceFailureStreak {
        &mut self.failure_streak
    }

    async fn start(&mut self) {
        self.restore().await;
        Stage::Restored.reach(&self.stage);
    }

    async fn apply(&mut self, texts: Pair) -> Result<(), (Reason, Content)> {
        let content = texts.content();
        let candidate = match self.content {
            Some(in_force) if in_force == content => None,
            _ => self.examine(texts).await.map_err(|reason| (reason, content))?,
        };
        let is_in_force = match candidate {
            Some(candidate) => self.promote(*candidate).await,
            None => {
                self.keep_again().await;
                true
            }
        };
        if is_in_force {
            self.content = Some(content);
            self.note_success();
        }
        Ok(())
    }

    async fn fail(&mut self, failure: FailedAttempt) {
        let settle = self.config.source.settle(self.options.settle);
        if self.failure_streak.note(&failure, Instant::now(), settle) {
            self.publisher.refuse(Rejection {
                message: failure.error.to_string(),
                at: (self.options.now)(),
            });
            self.publisher
                .report(EventKind::of_source(failure.error, self.serving()));
            self.loaded();
        }
        self.keep_again().await;
    }

    /// Reports once of each revocation list and of the CAs that their end is near, and once that it is past.
    fn report_age(&mut self) {
        let now = (self.options.now)();
        let ageing = self
            .bundle()
            .map_or_else(Vec::new, |bundle| age::ageing(&bundle, now));
        for one in ageing.iter().filter(|one| !self.ageing.contains(one)) {
            self.publisher.report(event_of(one));
        }
        self.ageing = ageing;
    }

    async fn wait(
        &mut self,
        mut hint: impl Future<Output = Instant> + Send + Unpin,
        wait: Duration,
        _poll: Duration,
    ) {
        let next = Instant::now() + wait;
        while Instant::now() < next {
            tokio::select! {
                seen_at = &mut hint => {
                    self.seen_at = seen_at;
                    return;
                }
                () = sleep_until(next.min(Instant::now() + MAX_WAIT)) => self.report_age(),
            }
        }
        self.seen_at = Instant::now();
    }
}

impl Trust {
    pub(crate) fn new(
        config: TrustConfig,
        publisher: Publisher<TrustBundle>,
        reader: Reader,
        options: Arc<Options>,
        stage: watch::Sender<Stage>,
    ) -> Self {
        Self {
            config,
            publisher,
            reader,
            options,
            stage,
            seen_at: Instant::now(),
            content: None,
            keeping: TrustState::default(),
            failure_streak: SourceFailureStreak::default(),
            ageing: Vec::new(),
        }
    }

    /// Parses and checks, off this thread. `None`: the texts are in force already. Then their dates are not checked: the
    /// bundle would not be removed for them either.
    async fn examine(&self, texts: Pair) -> Result<Option<Box<ProvedTexts>>, Reason> {
        let (in_force, revocation, now) = (self.bundle(), self.config.revocation, (self.options.now)());
        let examined = blocking::prove(move || {
            let proved = TrustBundle::restore(&texts.chain, &texts.key, revocation)?;
            if in_force.as_ref().map(|bundle| bundle.fingerprint()) == Some(proved.bundle().fingerprint()) {
                return Ok(None);
            }
            let mut proved = TrustBundle::parse(&texts.chain, &texts.key, revocation, now)?;
            if let Some(in_force) = in_force {
                proved = proved.not_older_than(&in_force)?;
            }
            Ok(Some(Box::new(ProvedTexts { proved, texts })))
        });
        examined
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
    }

    /// Keeps the bundle on disk, puts it into force, and reports it. False if a reload has replaced this task, which is
    /// about to be aborted.
    async fn promote(&mut self, candidate: ProvedTexts) -> bool {
        let ProvedTexts { proved, texts } = candidate;
        let bundle = Arc::clone(proved.bundle());
        let kept = self.put_on_disk(bundle.fingerprint(), &texts).await;
        let Some(installed) = self.publisher.install(proved) else {
            return false;
        };
        if installed.changed {
            self.publisher.report(EventKind::TrustPromoted {
                fingerprint: installed.fingerprint,
                cas: bundle.cas().len(),
                revocation_lists: bundle.revocation_lists().len(),
                revoked: bundle.revocation_lists().iter().map(|list| list.revoked).sum(),
                not_after: bundle.not_after(),
                next_update: bundle.next_update(),
                took: self.seen_at.elapsed(),
            });
        }
        self.note_keeping(kept);
        true
    }

    /// Notes that the source holds the bundle in force.
    fn note_success(&mut self) {
        // A refusal of an earlier task, too.
        self.publisher.clear_refusal();
        if self.failure_streak.end()
            && let Some(fingerprint) = self.serving()
        {
            self.publisher.report(EventKind::Recovered { fingerprint });
        }
        self.loaded();
    }

    fn loaded(&self) {
        Stage::Loaded.reach(&self.stage);
    }

    fn serving(&self) -> Option<Fingerprint> {
        self.bundle().map(|bundle| bundle.fingerprint())
    }

    fn bundle(&self) -> Option<Arc<TrustBundle>> {
        let serving = self.reader.serving::<TrustBundle>(self.publisher.name())?;
        Some(Arc::clone(serving.bundle()))
    }
}

/// The bundle that the state directory keeps, and that `run` would put into force before any source is read. Writes
/// nothing; `None` if there is none, or if it cannot be read or used. Blocks.
pub fn kept_trust(state_dir: &Path, config: &TrustConfig) -> Option<Arc<TrustBundle>> {
    let document = Document::Trust(config.name.clone());
    let bytes = disk::read_now(state_dir, &document).ok()??;
    let pair = kept::parse(&bytes).ok()?;
    let proved = TrustBundle::restore(&pair.chain, &pair.key, config.revocation).ok()?;
    Some(Arc::clone(proved.bundle()))
}

fn event_of(ageing: &Ageing) -> EventKind {
    let (next_update, not_after) = (ageing.ends_at, ageing.ends_at);
    match (ageing.what.clone(), ageing.expiry) {
        (EndingPart::List(issuer), Expiry::Soon) => EventKind::ListDue { issuer, next_update },
        (EndingPart::List(issuer), Expiry::Past) => EventKind::ListOverdue { issuer, next_update },
        (EndingPart::LastCa(last), Expiry::Soon) => EventKind::CasExpireSoon { last, not_after },
        (EndingPart::LastCa(last), Expiry::Past) => EventKind::CasExpired { last, not_after },
    }
}
