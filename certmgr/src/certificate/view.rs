//! The view of a certificate.

use certstore::UnixTime;

use super::Core;
use crate::config::{AcmeSource, CertificateConfig, S3Object, Source};
use crate::error::{Error, ErrorClass, IssueFault};
use crate::view::{AcmeView, Action, LastError, NextStep, Version, View};

impl LastError {
    /// True if the state directory cannot be used.
    pub(super) fn is_of_state(&self) -> bool {
        self.class == ErrorClass::Issue(IssueFault::State)
    }

    /// True if the DNS provider fails.
    pub(super) fn is_of_dns(&self) -> bool {
        self.class == ErrorClass::Issue(IssueFault::Dns)
    }

    /// True if the available pair may not serve, as against no pair having come.
    pub(super) fn is_of_proof(&self) -> bool {
        self.class == ErrorClass::Prove
    }
}

/// The view before the task's first report.
pub(crate) fn first(name: &str, config: &CertificateConfig, now: UnixTime) -> View {
    View {
        name: name.into(),
        source: config.source.kind(),
        places: places(&config.source),
        domains: config.domains.clone(),
        serving: None,
        previous: Vec::new(),
        next: NextStep {
            action: Action::Read,
            at: now,
            why: "it has just been started".to_owned(),
        },
        trouble: None,
        last_success_at: None,
        acme: match &config.source {
            Source::Acme(source) => Some(acme(source)),
            Source::Files(_) | Source::S3(_) | Source::SecretsManager(_) => None,
        },
        revocations: Vec::new(),
    }
}

fn acme(source: &AcmeSource) -> AcmeView {
    AcmeView {
        cas: source.cas.iter().map(|one| one.name.clone()).collect(),
        challenge: source.challenge.name(),
        key: source.key.name(),
        explanation: None,
        next_order: None,
    }
}

fn places(source: &Source) -> Vec<String> {
    match source {
        Source::Files(files) => files.both(),
        Source::S3(s3) => {
            let shown = |object: &S3Object| format!("s3://{}/{}", s3.bucket, object.key);
            s3.objects().map(shown).collect()
        }
        Source::SecretsManager(secret) => vec![secret.secret.clone()],
        Source::Acme(acme) => acme.cas.iter().map(|one| one.directory.clone()).collect(),
    }
}

impl Core {
    /// Counts a failed attempt.
    pub(super) fn note_failing(&mut self, error: &Error, now: UnixTime) {
        let (since, attempts) = match &self.failing {
            Some(failing) => (failing.since, failing.attempts.saturating_add(1)),
            None => (now, 1),
        };
        let places = error.places.join(", ");
        self.failing = Some(LastError {
            since,
            attempts,
            class: error.class(),
            message: format!("{places}: {}", error.reason),
            remedy: error.remedy().to_owned(),
        });
        self.show_state();
    }

    /// Updates the view, but not the next step. To be called before a report: a client that reacts to an event and
    /// looks must find what the event says.
    pub(super) fn show_state(&self) {
        self.channels.view.send_modify(|view| {
            let next = view.next.clone();
            self.update(view, next);
        });
    }

    /// Brings the view up to date.
    pub(super) fn update(&self, view: &mut View, next: NextStep) {
        let serving = self.serving().map(|serving| serving.fingerprint());
        let versions = &self.kept.versions;
        view.serving = self
            .serving()
            .map(|serving| match self.kept.version(serving.fingerprint()) {
                Some(kept) => kept.facts.clone(),
                None => Version::of(serving.bundle()),
            });
        view.previous = versions
            .iter()
            .filter(|version| Some(version.fingerprint()) != serving)
            .map(|version| version.facts.clone())
            .collect();
        view.next = next;
        view.trouble.clone_from(&self.failing);
        view.last_success_at = self.last_success_at;
    }
}
