//! `h2gate certs show`: everything about one certificate.

use prost_types::Timestamp;
use proto::certs::v1 as pb;

use super::list::action;
use super::wishes;
use super::words::{Now, at_and_when, due, one_line};
use crate::command::count;

pub(super) fn text(certificate: &pb::Certificate, now: Now) -> String {
    let mut page = Page(format!("{}\n", one_line(&certificate.name)));
    page.line(0, "source", &certificate.source);
    page.lines(0, "place", &certificate.places);
    page.lines(0, "domain", &certificate.domains);
    if let Some(acme) = &certificate.acme {
        page.lines(0, "CA", &acme.cas);
        page.line(0, "challenge", &acme.challenge);
        page.line(0, "key type", &acme.key);
        page.line(0, "CA's words", &acme.renewal_explanation);
    }
    if let Some(next) = &certificate.next {
        page.line(0, "next", &step(next, now));
    }
    page.time(0, "last success", &certificate.last_success_time, now);
    match &certificate.serving {
        Some(serving) => {
            page.line(0, "serves", &serving.fingerprint);
            version(&mut page, serving, now);
        }
        None => page.line(0, "serves", "nothing yet"),
    }
    if let Some(one) = &certificate.trouble {
        trouble(&mut page, one, now);
    }
    for one in &certificate.revocations {
        page.line(0, "to revoke", &wishes::text(one, now));
    }
    for previous in &certificate.previous {
        page.line(0, "before", &previous.fingerprint);
        version(&mut page, previous, now);
    }
    page.0
}

pub(super) fn step(next: &pb::NextStep, now: Now) -> String {
    let mut text = action(next);
    if let Some(time) = &next.time {
        text.push_str(&format!(" at {time} ({})", due(time, now)));
    }
    if !next.why.is_empty() {
        text.push_str(&format!(": {}", next.why));
    }
    text
}

fn version(page: &mut Page, version: &pb::Version, now: Now) {
    page.lines(1, "name", &version.names);
    page.line(1, "key", &version.key_kind);
    page.line(1, "issuer", &version.issuer);
    page.time(1, "valid from", &version.not_before_time, now);
    page.time(1, "valid until", &version.not_after_time, now);
    page.time(1, "promoted", &version.promoted_time, now);
    page.line(1, "ordered at", &version.ca);
    page.line(1, "order", &version.order);
    page.lines(1, "warning", &version.warnings);
    if version.excluded {
        page.line(1, "excluded", "an operator rolled back from it");
    }
}

fn trouble(page: &mut Page, trouble: &pb::Trouble, now: Now) {
    page.line(0, "trouble", &trouble.message);
    page.line(1, "class", &trouble.class);
    if let Some(since) = &trouble.since_time {
        let since = format!(
            "{}, {}",
            at_and_when(since, now),
            count(trouble.attempts.into(), "attempt")
        );
        page.line(1, "since", &since);
    }
    page.line(1, "remedy", &trouble.remedy);
}

/// Lines of a label and what it says, indented; those below another one deeper.
struct Page(String);

impl Page {
    /// Nothing is said of what is empty.
    fn line(&mut self, depth: usize, label: &str, text: &str) {
        const LABEL: usize = 14;
        if text.is_empty() {
            return;
        }
        let (indent, label_width) = (2 + 2 * depth, LABEL - 2 * depth);
        self.0
            .push_str(&format!("{:indent$}{label:label_width$}{}\n", "", one_line(text)));
    }

    fn time(&mut self, depth: usize, label: &str, time: &Option<Timestamp>, now: Now) {
        let text = time.as_ref().map(|time| at_and_when(time, now));
        self.line(depth, label, &text.unwrap_or_default());
    }

    fn lines(&mut self, depth: usize, label: &str, texts: &[String]) {
        for text in texts {
            self.line(depth, label, text);
        }
    }
}
