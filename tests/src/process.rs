//! Processes beside a test: what they say is kept, and they end when the test does, however it ends.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Lines kept of each output.
const MAX_LINES: usize = 20_000;

/// A double in a process of its own. It ends when this is dropped, and also when the test's process is killed: a shell
/// between the two waits for the end of its standard input.
#[derive(Debug)]
pub(crate) struct Double {
    shell: Child,
    log: Lines,
}

impl Double {
    pub(crate) fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        environment: &[(&str, String)],
    ) -> Self {
        let mut shell = Command::new("sh")
            .args([
                "-c",
                r#""$@" </dev/null & cat >/dev/null; kill $!; wait $!"#,
                "sh",
            ])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = Lines::default();
        log.clone().follow(shell.stdout.take().unwrap());
        log.clone().follow(shell.stderr.take().unwrap());
        Self { shell, log }
    }

    pub(crate) fn log(&self) -> &Lines {
        &self.log
    }

    /// Ends it and waits for that.
    pub(crate) fn stop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The output of a process, line by line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    /// Keeps what comes from `source` until its end.
    pub(crate) fn follow(self, source: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                let mut kept = self.0.lock().unwrap();
                if kept.len() == MAX_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
    }

    pub(crate) fn text(&self) -> String {
        self.tail(usize::MAX)
    }

    pub(crate) fn tail(&self, count: usize) -> String {
        let kept = self.0.lock().unwrap();
        let skipped = kept.len().saturating_sub(count);
        kept.iter()
            .skip(skipped)
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// The first line that holds all of these.
    pub(crate) fn find(&self, words: &[&str]) -> Option<String> {
        let kept = self.0.lock().unwrap();
        kept.iter()
            .find(|line| words.iter().all(|word| line.contains(word)))
            .cloned()
    }

    /// Number of lines that contain all of these words.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        let kept = self.0.lock().unwrap();
        kept.iter()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }
}
