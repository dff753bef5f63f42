//! Processes: the CPUs that they run on, and the CPU time that they use.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The gateway's share of the machine, and that of everybody else: the first CPU that this process may use, and the
/// others. `None` with a single CPU, or if processes cannot be bound to CPUs here.
pub(crate) fn places() -> Option<&'static (String, String)> {
    static PLACES: OnceLock<Option<(String, String)>> = OnceLock::new();
    PLACES
        .get_or_init(|| {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let allowed = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            let cpus = listed(allowed.trim())?;
            let (first, others) = cpus.split_first()?;
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            let known = Command::new("taskset").arg("--version").output().is_ok();
            (known && !others.is_empty()).then(|| (first.to_string(), others.join(",")))
        })
        .as_ref()
}

/// CPUs as Linux lists them: `0-2,4`.
fn listed(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// True if a process may have priority over the rest of the machine. The figures are meant for a machine that does
/// nothing else.
fn may_go_first() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let tried = Command::new("nice").args(["-n", "-10", "nice"]).output();
        // Without that right nice goes on without priority, and says so.
        tried.is_ok_and(|output| output.stdout.starts_with(b"-10"))
    })
}

/// Words before a program that give it its place: the gateway's.
pub(crate) fn gateway_words() -> Vec<&'static str> {
    let mut words = Vec::new();
    if let Some((gateway, _)) = places() {
        words.extend(["taskset", "-c", gateway.as_str()]);
    }
    if may_go_first() {
        words.extend(["nice", "-n", "-10"]);
    }
    words
}

/// Puts this process where the gateway is not. Its quiet clients go before an attacker, which must not be what they
/// wait for.
pub(crate) fn take_place() {
    // Before this process changes its own: it is where the list of CPUs comes from.
    let places = places();
    let own = std::process::id().to_string();
    let say = |program: &str, words: &[&str]| Command::new(program).args(words).output().ok();
    if let Some((_, others)) = places {
        say("taskset", &["-cp", others, &own]);
    }
    if may_go_first() {
        say("renice", &["-n", "-10", "-p", &own]);
    }
}

/// Moves the thread that calls this to another CPU.
pub(crate) fn move_thread(cpu: &str) {
    // PID/task/TID
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else {
        return;
    };
    if let Some(id) = thread.file_name() {
        Command::new("taskset").args(["-cp", cpu]).arg(id).output().ok();
    }
}

/// Lets the thread that calls this, and what it starts, go last.
pub(crate) fn go_last() {
    rustix::process::nice(10).ok();
}

/// The CPU time of a process, and its wait for a CPU.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Time on a CPU.
    pub(crate) cpu: Duration,
    /// Time that it could have run, and others did.
    pub(crate) waited: Duration,
}

impl Usage {
    /// Sum over the threads that live. `process`: its id, or `self`.
    pub(crate) fn of(process: &str) -> Self {
        let mut sum = Self::default();
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
            return sum;
        };
        for thread in threads.flatten() {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let mut fields = text
                .split_whitespace()
                .map(|field| Duration::from_nanos(field.parse().unwrap_or(0)));
            sum.cpu += fields.next().unwrap_or_default();
            sum.waited += fields.next().unwrap_or_default();
        }
        sum
    }
}
