//! TXT records by a command of the operator: `<command…> present|cleanup <name> <value>`.
//!
//! The environment has the same three words as `H2GATE_DNS_ACTION`, `H2GATE_DNS_NAME` and `H2GATE_DNS_VALUE`, beside
//! all variables that h2gate itself was started with. The command must accept being called twice for one record, and
//! the removal of a record that does not exist.

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
use crate::event::{EventKind, Reporter};
use crate::failpoint;
use crate::store::BoxFuture;

/// Number of bytes that are kept of the end of the standard error of a command.
const MAX_STDERR_BYTES: usize = 2048;

/// Number of its last lines that an error repeats.
const MAX_STDERR_LINES: usize = 5;

/// Time for which standard error may stay open after the command has ended: a process that it left in the background
/// may keep it open for ever.
const STDERR_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the command once for each record, one after the other.
#[derive(Debug)]
pub(super) struct Hook {
    hook: ExecHook,
    reporter: Reporter,
}

impl Hook {
    pub(super) fn new(hook: ExecHook, reporter: Reporter) -> Self {
        Self { hook, reporter }
    }

    /// Runs the command for one record. At the timeout, and when the future is dropped, the command and all processes
    /// of its group are killed. The caller has checked that the name of the record is plain.
    async fn run(&self, action: &str, record: &TxtRecord) -> Result<(), IssueError> {
        let Some((program, arguments)) = self.hook.command.split_first() else {
            return Err(failure(
                "the command for DNS records is empty",
                "name a program in `exec`",
            ));
        };
        let failed = |event: String, remedy: &str| {
            failure(format!("`{program} {action} {}` {event}", record.name), remedy)
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([action, &record.name, &record.value])
            .env("H2GATE_DNS_ACTION", action)
            .env("H2GATE_DNS_NAME", &record.name)
            .env("H2GATE_DNS_VALUE", &record.value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}"), spawn_remedy(&error)))?;
        let group = ProcessGroup::of(&child);
        match tokio::time::timeout(self.hook.timeout, ended(&mut child)).await {
            Ok(Ok((status, words))) => {
                group.has_ended();
                if status.success() {
                    return Ok(());
                }
                let colon = if words.is_empty() { "" } else { ": " };
                Err(failed(
                    format!("failed ({}){colon}{words}", ending(status)),
                    "run the command by hand with these arguments; what it says is in the text",
                ))
            }
            Ok(Err(error)) => Err(failed(format!("cannot be watched: {error}"), "try again")),
            Err(_) => Err(failed(
                format!(
                    "was killed: it had not ended after {} s",
                    self.hook.timeout.as_secs_f64()
                ),
                "see what it waits for, or give it more time (`timeout`)",
            )),
        }
    }
}

/// True if the name of a record has only harmless characters. It may come from a CNAME, and so from the name servers
/// of a zone: nothing in it may have a meaning for a shell, or look like an option.
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
                self.run("present", record).await?;
                failpoint::hit("dns.present.after", "");
            }
            tokio::time::sleep(self.hook.propagation).await;
            Ok(())
        })
    }

    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            // A record that cannot be removed must not prevent the removal of the others.
            let mut first_failure = Ok(());
            for record in records {
                if !is_plain(record) {
                    let name = RemoteText::new(&record.name).to_string();
                    self.reporter.of_manager(EventKind::RecordSkipped { name });
                    continue;
                }
                failpoint::hit("dns.cleanup.before", "");
                let removed = self.run("cleanup", record).await;
                failpoint::hit("dns.cleanup.after", "");
                first_failure = first_failure.and(removed);
            }
            first_failure
        })
    }
}

/// Waits for a command to end. Returns its status and its last lines on standard error.
async fn ended(child: &mut Child) -> io::Result<(ExitStatus, String)> {
    let mut tail = StderrTail::default();
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
                // What came is reported; that the rest did not come is no failure.
                let _ = tokio::time::timeout(STDERR_TIMEOUT, &mut reading).await;
                status?
            }
            () = &mut reading => child.wait().await?,
        }
    };
    Ok((status, tail.lines()))
}

/// The last bytes of a stream.
#[derive(Default)]
struct StderrTail(Vec<u8>);

impl StderrTail {
    async fn read(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            self.0.extend_from_slice(piece.get(..read).unwrap_or_default());
            self.0.drain(..self.0.len().saturating_sub(MAX_STDERR_BYTES));
        }
    }

    fn lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let first = lines.len().saturating_sub(MAX_STDERR_LINES);
        let last = lines.get(first..).unwrap_or_default().join(" | ");
        last.chars().filter(|character| is_shown(*character)).collect()
    }
}

/// The process group of a command. It is killed if this is dropped before the command has ended.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Leaves the group alone: a process that the command left in the background may go on, and the number of the
    /// group may soon be that of another one.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that is gone already is no failure.
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

#[cfg(test)]
mod tests;
