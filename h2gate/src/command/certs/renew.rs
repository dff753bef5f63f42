//! `h2gate certs renew`: asks for a renewal, and with `--wait` prints each step until its end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use proto::certs::v1 as pb;
use proto::certs::v1::watch_response::Item;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Watch};
use super::failure::Failure;
use super::words::{Now, at_and_when, due, one_line, short};
use super::{print_result, show};
use crate::cli::Output;
use crate::command::{exit_code, print};

/// The time without an event after which the next step is printed.
const SILENCE: Duration = Duration::from_secs(30);

/// The outcome after which a renewal is tried again.
const FAILED: &str = "failed";

/// The end of a renewal.
struct Outcome {
    /// For programs.
    name: &'static str,
    /// For people.
    text: String,
    is_success: bool,
}

pub(super) async fn renew(
    client: &mut Client,
    name: &str,
    wait: Option<Duration>,
    output: Output,
) -> Result<ExitCode> {
    let Some(patience) = wait else {
        client.renew(name).await?;
        return print_result(
            output,
            &format!("{name}: the renewal has begun; `h2gate certs show {name}` shows how it went\n"),
            json!({ "name": name, "outcome": "begun" }),
        );
    };
    let give_up = Instant::now() + patience;
    // Before it is asked for, so that no event is missed.
    let mut watch = client.watch(name).await?;
    let before = snapshot(&mut watch).await?;
    client.renew(name).await?;
    let mut watched = WatchedRenewal {
        name,
        client,
        watch,
        before: serving(&before),
        output,
        events: Vec::new(),
    };
    let outcome = watched.until(give_up).await?;
    let outcome = outcome.unwrap_or_else(|| Outcome::timeout(&one_line(name), patience));
    let events = watched.events;
    let after = client.show(name).await?;
    print_result(
        output,
        &conclusion(&outcome, &after, Now::read()),
        json!({ "name": name, "outcome": outcome.name, "events": events, "certificate": after }),
    )?;
    Ok(exit_code(outcome.is_success))
}

/// One certificate as it is now.
async fn snapshot(watch: &mut Watch) -> Result<pb::Certificate, Failure> {
    let mut certificate = pb::Certificate::default();
    loop {
        match watch.next().await? {
            Item::Certificate(one) => certificate = one,
            Item::SnapshotEnd(_) => return Ok(certificate),
            Item::Event(_) | Item::Missed(_) => {}
        }
    }
}

/// A renewal that is under way.
struct WatchedRenewal<'a> {
    name: &'a str,
    client: &'a mut Client,
    watch: Watch,
    /// The certificate that served when the renewal was asked for.
    before: String,
    output: Output,
    events: Vec<pb::Event>,
}

impl WatchedRenewal<'_> {
    /// `None` if it has not ended by then.
    async fn until(&mut self, give_up: Instant) -> Result<Option<Outcome>> {
        let mut silent_until = Instant::now() + SILENCE;
        loop {
            let item = tokio::select! {
                item = self.watch.next() => item?,
                () = sleep_until(give_up) => return Ok(None),
                () = sleep_until(silent_until) => {
                    self.report_next_step().await?;
                    silent_until = Instant::now() + SILENCE;
                    continue;
                }
            };
            silent_until = Instant::now() + SILENCE;
            if let Some(outcome) = self.note(item)? {
                return Ok(Some(outcome));
            }
        }
    }

    fn note(&mut self, item: Item) -> Result<Option<Outcome>> {
        match item {
            Item::Event(event) => {
                self.progress(&event.message)?;
                let outcome = Outcome::of(&event.kind);
                self.events.push(event);
                Ok(outcome)
            }
            Item::Missed(missed) => {
                self.progress(&format!("{} events were missed", missed.events))?;
                Ok(None)
            }
            // After events were missed: one of them may have been the end.
            Item::Certificate(one) if serving(&one) != self.before => Ok(Outcome::of("promoted")),
            Item::Certificate(_) | Item::SnapshotEnd(_) => Ok(None),
        }
    }

    async fn report_next_step(&mut self) -> Result<()> {
        let certificate = self.client.show(self.name).await?;
        let next = certificate.next.as_ref();
        let next = next.map(|next| show::step(next, Now::read())).unwrap_or_default();
        self.progress(&format!("{}: still waiting; next: {next}", self.name))
    }

    /// A program gets the events at the end.
    fn progress(&self, message: &str) -> Result<()> {
        match self.output {
            Output::Text => print(&format!("{}\n", one_line(message)))?,
            Output::Json => {}
        }
        Ok(())
    }
}

impl Outcome {
    /// The end that an event of this kind is; `None` if the renewal goes on.
    fn of(kind: &str) -> Option<Self> {
        let (name, text) = match kind {
            "promoted" => ("promoted", "renewed"),
            "unchanged" => ("unchanged", "nothing new at its source"),
            "excluded" => (
                "excluded",
                "not renewed: its source holds what was rolled back from or is to be revoked",
            ),
            "limited" => (
                "limited",
                "not renewed yet: a limit of its CA holds it up, and it is ordered after that",
            ),
            "refused" | "unreadable" | "failing" => (FAILED, "not renewed; it is tried again by itself"),
            _ => return None,
        };
        Some(Self {
            name,
            text: text.to_owned(),
            is_success: matches!(name, "promoted" | "unchanged"),
        })
    }

    fn timeout(name: &str, patience: Duration) -> Self {
        let after = patience.as_secs();
        Self {
            name: "timeout",
            text: format!(
                "no end within {after} s; the renewal goes on, and `h2gate certs show {name}` shows how it went"
            ),
            is_success: false,
        }
    }
}

fn conclusion(outcome: &Outcome, after: &pb::Certificate, now: Now) -> String {
    let next = after.next.as_ref().and_then(|step| step.time.as_ref());
    let again = next.filter(|_| outcome.name == FAILED);
    let again = again.map_or(String::new(), |time| format!(" {}", due(time, now)));
    let serves = match &after.serving {
        Some(serving) => {
            let until = serving.not_after_time.as_ref();
            let until = until.map(|until| at_and_when(until, now));
            format!(
                "certificate {} serves until {}",
                short(&serving.fingerprint),
                until.unwrap_or_default()
            )
        }
        None => "nothing serves under this name".to_owned(),
    };
    format!("{}: {}{again}; {serves}\n", one_line(&after.name), outcome.text)
}

/// Empty if nothing does.
fn serving(certificate: &pb::Certificate) -> String {
    let serving = certificate.serving.as_ref();
    serving
        .map(|version| version.fingerprint.clone())
        .unwrap_or_default()
}
