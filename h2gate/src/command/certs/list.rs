//! `h2gate certs list`: one line for each certificate, one more if it has trouble, and one for each wish to revoke that
//! is open, also of certificates that are not configured any more.

use proto::certs::v1 as pb;

use super::table::{Column, Table};
use super::wishes;
use super::words::{Now, at_and_when, due, one_line, seconds, short, span};
use crate::command::count;

const NOTHING: &str = "-";

pub(super) fn text(all: &pb::ListResponse, now: Now, width: Option<usize>) -> String {
    let mut text = table(&all.certificates, now, width);
    for one in all.revocations.iter().filter(|one| wishes::is_open(one)) {
        let name = one_line(&one.name);
        text.push_str(&format!(
            "{name}, which is not configured any more: {}\n",
            wishes::text(one, now)
        ));
    }
    text
}

fn table(certificates: &[pb::Certificate], now: Now, width: Option<usize>) -> String {
    if certificates.is_empty() {
        return "no certificates are configured\n".to_owned();
    }
    let mut table = Table::new([
        Column::Cut("NAME"),
        Column::Whole("SOURCE"),
        Column::Whole("SERVES"),
        Column::Whole("UNTIL"),
        Column::Whole("NEXT"),
    ]);
    for certificate in certificates {
        let trouble = certificate.trouble.iter().map(|one| trouble(one, now));
        let open = certificate.revocations.iter().filter(|one| wishes::is_open(one));
        let notes = trouble.chain(open.map(|one| wishes::text(one, now)));
        table.row(cells(certificate, now), notes.collect());
    }
    table.text(width)
}

fn cells(certificate: &pb::Certificate, now: Now) -> [String; 5] {
    let serving = certificate.serving.as_ref();
    let until = serving.and_then(|version| version.not_after_time.as_ref());
    [
        one_line(&certificate.name),
        one_line(&certificate.source),
        serving.map_or("nothing".to_owned(), |version| short(&version.fingerprint)),
        until.map_or(NOTHING.to_owned(), |until| at_and_when(until, now)),
        certificate
            .next
            .as_ref()
            .map_or(NOTHING.to_owned(), |step| next(step, now)),
    ]
}

fn next(step: &pb::NextStep, now: Now) -> String {
    let when = step.time.as_ref().map(|at| due(at, now));
    format!("{} {}", action(step), when.unwrap_or_default())
}

/// A step in one word: `ACTION_READ` is `read`.
pub(super) fn action(step: &pb::NextStep) -> String {
    let name = step.action().as_str_name();
    name.trim_start_matches("ACTION_").to_ascii_lowercase()
}

fn trouble(trouble: &pb::Trouble, now: Now) -> String {
    let since = trouble.since_time.as_ref().map_or(now.0, seconds);
    one_line(&format!(
        "trouble for {}, {}: {}; {}",
        span(now.0.saturating_sub(since)),
        count(trouble.attempts.into(), "attempt"),
        trouble.message,
        trouble.remedy
    ))
}
