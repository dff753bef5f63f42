//! TXT records by a command of the operator's: `<command…> present|cleanup <name> <value>`.
//!
//! The same three words stand in the environment as `H2GATE_DNS_ACTION`, `H2GATE_DNS_NAME` and
//! `H2GATE_DNS_VALUE`, beside all that h2gate itself was started with. The command must bear to be called
//! twice for one record, and to be asked to remove what is not there.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use certstore::{RemoteText, is_shown};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::{TxtRecord, TxtRecords, failure};
use crate::config::ExecHook;
use crate::error::IssueError;
use crate::failpoint;
use crate::store::BoxFuture;

/// What is kept of the end of a command's standard error, in bytes.
const MAX_WORDS: usize = 2048;

/// Its last lines that are told.
const MAX_LINES: usize = 5;

/// How long standard error may stay open after the command has ended: what it left in the background may hold
/// it for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs the command once for each record, one after the other.
#[derive(Debug)]
pub(super) struct Hook {
    hook: ExecHook,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Present,
    Cleanup,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

impl Hook {
    pub(super) fn new(hook: ExecHook) -> Self {
        Self { hook }
    }

    /// Ends the command and all that it has started, at the timeout and when cancelled. The record's name is plain.
    async fn run(&self, action: Action, record: &TxtRecord) -> Result<(), IssueError> {
        let Some((program, arguments)) = self.hook.command.split_first() else {
            return Err(failure(
                "the command for DNS records is empty",
                "name a program in `exec`",
            ));
        };
        let told = |what: String, remedy: &str| {
            failure(
                format!("`{program} {} {}` {what}", action.as_str(), record.name),
                remedy,
            )
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([action.as_str(), &record.name, &record.value])
            .env("H2GATE_DNS_ACTION", action.as_str())
            .env("H2GATE_DNS_NAME", &record.name)
            .env("H2GATE_DNS_VALUE", &record.value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| told(format!("cannot be started: {error}"), spawn_remedy(&error)))?;
        let group = Group::of(&child);
        match tokio::time::timeout(self.hook.timeout, watch(&mut child)).await {
            Ok(Ok((status, words))) => {
                group.has_ended();
                if status.success() {
                    return Ok(());
                }
                Err(told(
                    format!("failed ({}){}", ending(status), quoted(&words)),
                    "run the command by hand with these arguments; what it says is in the text",
                ))
            }
            Ok(Err(error)) => Err(told(format!("cannot be watched: {error}"), "try again")),
            Err(_) => Err(told(
                format!(
                    "was killed: it had not ended after {} s",
                    self.hook.timeout.as_secs_f64()
                ),
                "see what it waits for, or give it more time (`timeout`)",
            )),
        }
    }
}

/// A name may have come out of a CNAME, from whoever answers for the zone: nothing in it may mean anything to a
/// shell, or look like an option.
fn is_plain(record: &TxtRecord) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    record.name.bytes().all(fits) && !record.name.starts_with('-')
}

impl TxtRecords for Hook {
    fn check(&self, records: &[TxtRecord]) -> Result<(), IssueError> {
        let Some(odd) = records.iter().find(|record| !is_plain(record)) else {
            return Ok(());
        };
        Err(failure(
            format!(
                "the command for DNS records is not run for the name `{}`: it has more in it than letters, digits, \
                 `-`, `.` and `_`",
                RemoteText::new(&odd.name)
            ),
            "let the CNAME of `_acme-challenge` lead to a name of these alone",
        ))
    }

    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            self.check(records)?;
            for record in records {
                failpoint::hit("dns.present.before", "");
                self.run(Action::Present, record).await?;
                failpoint::hit("dns.present.after", "");
            }
            tokio::time::sleep(self.hook.propagation).await;
            Ok(())
        })
    }

    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            // One that cannot be removed must not keep the others.
            let mut first_failure = Ok(());
            for record in records {
                if !is_plain(record) {
                    tracing::warn!(
                        name = %RemoteText::new(&record.name),
                        "a TXT record counts as removed, for the command is not run for its name; if an earlier \
                         version has written it, remove it by hand"
                    );
                    continue;
                }
                failpoint::hit("dns.cleanup.before", "");
                let removed = self.run(Action::Cleanup, record).await;
                failpoint::hit("dns.cleanup.after", "");
                first_failure = first_failure.and(removed);
            }
            first_failure
        })
    }
}

/// The end of a command and its last words.
async fn watch(child: &mut Child) -> io::Result<(ExitStatus, String)> {
    let mut tail = Tail::default();
    let stderr = child.stderr.take();
    let status = {
        let reading = async {
            if let Some(stderr) = stderr {
                tail.read(stderr).await;
            }
        };
        tokio::pin!(reading);
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                // Whatever came is told; that the rest did not is no failure.
                let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
                status
            }
            () = &mut reading => child.wait().await?,
        }
    };
    Ok((status, tail.lines()))
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            self.0.extend_from_slice(piece.get(..read).unwrap_or_default());
            self.0.drain(..self.0.len().saturating_sub(MAX_WORDS));
        }
    }

    fn lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let first = lines.len().saturating_sub(MAX_LINES);
        let last = lines.get(first..).unwrap_or_default().join(" | ");
        last.chars().filter(|character| is_shown(*character)).collect()
    }
}

/// The process group of a command. Dropped before the command has ended, it is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// What a command leaves in the background is its own business; and its number may be another's soon.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn spawn_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path of the program in `exec`, and of the interpreter in its first line"
        }
        io::ErrorKind::PermissionDenied => "let the user that h2gate runs as execute the program (chmod +x)",
        _ => "check the program in `exec`",
    }
}

fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

fn quoted(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    }
}

#[cfg(test)]
mod tests;
