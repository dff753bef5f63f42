//! The process and the kernel: facts about it, and requests to it: more open files, no core dumps.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Figures of the process at one moment. `None`: the kernel does not give it (no `/proc`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// User and system time of all threads since the start.
    pub cpu: Duration,
    /// Resident set, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit of file descriptors; `None` also means unlimited.
    pub max_fds: Option<u64>,
    /// Start of the process, since the Unix epoch.
    pub started_at: Option<Duration>,
}

impl Figures {
    /// Reads them now.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu_time(),
            resident_bytes: field(&status, "VmRSS:").map(kibibytes),
            virtual_bytes: field(&status, "VmSize:").map(kibibytes),
            threads: field(&status, "Threads:"),
            open_fds: open_fds(),
            max_fds: open_file_limit(),
            started_at: started_at(),
        }
    }
}

/// Raises the soft limit of file descriptors to the hard one, and gives the new one.
///
/// The soft limit is 1,024 in most places for the sake of programs that use `select`; a gateway
/// would refuse clients at about 500 connections.
pub fn raise_open_file_limit() -> Result<Option<u64>, std::io::Error> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(open_file_limit())
}

/// Keeps the memory, which holds private keys, off the disk when the process crashes, for good.
///
/// Both ways are needed: a pipe as `core_pattern` (systemd-coredump) ignores the limit. Not dumpable also means
/// that only root may look into the process (profilers, debuggers, `/proc/PID/mem`).
pub fn refuse_core_dumps() -> Result<(), std::io::Error> {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The soft limit of file descriptors; `None` if there is none.
pub fn open_file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The number after `name` in the form of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(number: u64) -> u64 {
    number.saturating_mul(1024)
}

fn open_fds() -> Option<u64> {
    // Linux 6.2 and later give the count as the size of the directory; counting 100,000 entries takes long.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // One of them is the directory that is being read.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// Boot time plus the ticks between boot and start: the same on every read, unlike "now minus age".
fn started_at() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // proc_pid_stat(5): the name in field 2 may hold blanks and brackets; field 22 counts from its end.
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: u64 = after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let boot = field(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    let since_boot = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
    Some(Duration::from_secs(boot) + since_boot)
}

/// Now, since the Unix epoch.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_this_process() {
        let open_files: Vec<_> = (0..20)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let figures = Figures::read();
        assert!(figures.open_fds.unwrap() >= 20, "{figures:?}");
        drop(open_files);
        assert!(figures.resident_bytes.unwrap() > 1 << 20, "{figures:?}");
        assert!(figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!(figures.threads.unwrap() >= 1, "{figures:?}");
        // btime has whole seconds, so the start may seem up to a second off.
        let age = unix_now().as_secs_f64() - figures.started_at.unwrap().as_secs_f64();
        assert!((-1.5..600.0).contains(&age), "age {age}");
    }

    #[test]
    fn start_does_not_move_between_reads() {
        assert_eq!(Figures::read().started_at, Figures::read().started_at);
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = Figures::read().cpu;
        let mut x = 1_u64;
        while Figures::read().cpu <= before {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        assert!(Figures::read().cpu > before, "{x}");
    }

    #[test]
    fn open_file_limit_ends_at_the_hard_one() {
        let now = raise_open_file_limit().unwrap();
        assert_eq!(now, getrlimit(Resource::Nofile).maximum);
    }
}
