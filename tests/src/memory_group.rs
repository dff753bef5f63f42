use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A control group with a bound of memory: who needs more in it is killed.
#[derive(Debug)]
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// `None` where this process may make none, as in most containers.
    pub fn new(bytes: u64) -> Option<Self> {
        let name = format!("h2gate-test-{:016x}", rand::random::<u64>());
        let (one, two) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let (parent, bound) = match one.is_dir() {
            true => (one.to_owned(), "memory.limit_in_bytes"),
            false => (two.join(own_group()?.trim_start_matches('/')), "memory.max"),
        };
        let group = Self(parent.join(name));
        fs::create_dir(&group.0).ok()?;
        // Dropped, it is removed again.
        fs::write(group.0.join(bound), bytes.to_string()).ok()?;
        Some(group)
    }

    /// For [`crate::TestGatewayBuilder::under`].
    pub fn command(&self) -> [String; 5] {
        let enter = format!("echo $$ >'{}/cgroup.procs' && exec \"$@\"", self.0.display());
        ["sh", "-ec", &enter, "sh", "env"].map(str::to_owned)
    }
}

/// Of version 2: the one line that names no controllers.
fn own_group() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(own.to_owned())
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The kernel needs a moment after the last process.
        let give_up_at = Instant::now() + Duration::from_secs(2);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < give_up_at {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
