//! `h2gate certs renew`: asks for it, and with `--wait` tells each step until the end.

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
use crate::command::print;

/// After so long without an event it is told what is waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// The end of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Something new serves.
    Promoted,
    /// The source still holds what serves.
    Unchanged,
    /// The source holds what an operator rolled back from.
    Excluded,
    /// A limit of the CA does not allow it yet.
    Limited,
    /// It failed, and the last event says why.
    Failed,
    /// Not ended yet.
    Timeout,
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
            &format!("{name}: the renewal has begun; `h2gate certs show {name}` tells how it went\n"),
            json!({ "name": name, "outcome": "begun" }),
        );
    };
    let give_up = Instant::now() + patience;
    // Before it is asked for, so that no event is missed.
    let mut watch = client.watch(name).await?;
    let before = snapshot(&mut watch).await?;
    client.renew(name).await?;
    let mut following = Following {
        name,
        client,
        watch,
        before: serving(&before),
        output,
        events: Vec::new(),
    };
    let outcome = following.until(give_up).await?;
    let events = following.events;
    let after = client.show(name).await?;
    print_result(
        output,
        &conclusion(outcome, &after, patience),
        json!({ "name": name, "outcome": outcome.as_str(), "events": events, "certificate": after }),
    )?;
    Ok(outcome.exit_code())
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
struct Following<'a> {
    name: &'a str,
    client: &'a mut Client,
    watch: Watch,
    /// The certificate that served when the renewal was asked for.
    before: String,
    output: Output,
    events: Vec<pb::Event>,
}

impl Following<'_> {
    async fn until(&mut self, give_up: Instant) -> Result<Outcome> {
        let mut speak = Instant::now() + SILENCE;
        loop {
            let item = tokio::select! {
                item = self.watch.next() => item?,
                () = sleep_until(give_up) => return Ok(Outcome::Timeout),
                () = sleep_until(speak) => {
                    self.tell_what_is_waited_for().await?;
                    speak = Instant::now() + SILENCE;
                    continue;
                }
            };
            speak = Instant::now() + SILENCE;
            if let Some(outcome) = self.note(item)? {
                return Ok(outcome);
            }
        }
    }

    fn note(&mut self, item: Item) -> Result<Option<Outcome>> {
        match item {
            Item::Event(event) => {
                self.progress(&event.message)?;
                let outcome = Outcome::of(&event);
                self.events.push(event);
                Ok(outcome)
            }
            Item::Missed(missed) => {
                self.progress(&format!("{} events were missed", missed.events))?;
                Ok(None)
            }
            // After events were missed: one of them may have been the end.
            Item::Certificate(one) => Ok((serving(&one) != self.before).then_some(Outcome::Promoted)),
            Item::SnapshotEnd(_) => Ok(None),
        }
    }

    async fn tell_what_is_waited_for(&mut self) -> Result<()> {
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
    /// `None` if it goes on.
    fn of(event: &pb::Event) -> Option<Self> {
        Some(match event.kind.as_str() {
            "promoted" => Self::Promoted,
            "unchanged" => Self::Unchanged,
            "excluded" => Self::Excluded,
            "limited" => Self::Limited,
            "refused" | "unreadable" | "failing" => Self::Failed,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Unchanged => "unchanged",
            Self::Excluded => "excluded",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }

    fn exit_code(self) -> ExitCode {
        match self {
            Self::Promoted | Self::Unchanged => ExitCode::SUCCESS,
            Self::Excluded | Self::Limited | Self::Failed | Self::Timeout => ExitCode::FAILURE,
        }
    }
}

fn conclusion(outcome: Outcome, after: &pb::Certificate, patience: Duration) -> String {
    let name = one_line(&after.name);
    let what = match outcome {
        Outcome::Promoted => "renewed".to_owned(),
        Outcome::Unchanged => "nothing new at its source".to_owned(),
        Outcome::Excluded => {
            "not renewed: its source holds what was rolled back from or is to be revoked".to_owned()
        }
        Outcome::Limited => {
            "not renewed yet: a limit of its CA holds it up, and it is ordered after that".to_owned()
        }
        Outcome::Failed => {
            let next = after.next.as_ref().and_then(|step| step.time.as_ref());
            let next = next.map(|time| format!(" {}", due(time, Now::read())));
            format!(
                "not renewed; it is tried again by itself{}",
                next.unwrap_or_default()
            )
        }
        Outcome::Timeout => format!(
            "no end within {} s; the renewal goes on, and `h2gate certs show {name}` tells how it went",
            patience.as_secs()
        ),
    };
    let serves = match &after.serving {
        Some(serving) => {
            let until = serving.not_after_time.as_ref();
            let until = until.map(|until| at_and_when(until, Now::read()));
            format!(
                "certificate {} serves until {}",
                short(&serving.fingerprint),
                until.unwrap_or_default()
            )
        }
        None => "nothing serves under this name".to_owned(),
    };
    format!("{name}: {what}; {serves}\n")
}

/// Empty if nothing does.
fn serving(certificate: &pb::Certificate) -> String {
    let serving = certificate.serving.as_ref();
    serving
        .map(|version| version.fingerprint.clone())
        .unwrap_or_default()
}
