//! The number of CPUs that this process may use: the cgroup's quota, not the cores of the host.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// One worker per CPU of the quota, rounded up; without a quota one per CPU that may be used.
pub(super) fn workers() -> NonZeroUsize {
    let available = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match quota(&memberships, read) {
        Some(cpus) => round_up(cpus, available),
        None => available,
    }
}

/// `available` knows the quota as well, but rounds 1.5 CPUs down to 1. It also knows the affinity mask:
/// where it is smaller than the quota rounded down, the mask decides.
fn round_up(quota: f64, available: NonZeroUsize) -> NonZeroUsize {
    // Quotas are u32 microseconds over at least one: the clamped casts lose nothing.
    let whole =
        |cpus: f64| NonZeroUsize::new(cpus.clamp(1.0, 65_536.0) as usize).unwrap_or(NonZeroUsize::MIN);
    if available < whole(quota.floor()) {
        available
    } else {
        whole(quota.ceil())
    }
}

/// The smallest quota, in CPUs, of the cgroup and its parents.
fn quota(memberships: &str, read: impl Fn(&Path) -> Option<String>) -> Option<f64> {
    let mut smallest: Option<f64> = None;
    let mut take = |cpus: Option<f64>| {
        if let Some(cpus) = cpus {
            smallest = Some(smallest.map_or(cpus, |before| before.min(cpus)));
        }
    };
    for (controllers, path) in memberships.lines().filter_map(membership) {
        if controllers.is_empty() {
            for group in ancestors(ROOT, path) {
                take(read(&group.join("cpu.max")).as_deref().and_then(cpu_max));
            }
        } else if controllers.split(',').any(|name| name == "cpu") {
            for group in ancestors(&format!("{ROOT}/{controllers}"), path) {
                let quota = read(&group.join("cpu.cfs_quota_us"));
                let period = read(&group.join("cpu.cfs_period_us"));
                take(quota.zip(period).and_then(|(quota, period)| cfs(&quota, &period)));
            }
        }
    }
    smallest
}

/// A line of `/proc/self/cgroup`: `0::/path` (version 2) or `4:cpu,cpuacct:/path` (version 1).
fn membership(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some((controllers, path))
}

/// The group's folder and its parents up to the root. In a container the path may name what only the
/// host sees; the root is then the container's own group.
fn ancestors(root: &str, path: &str) -> Vec<PathBuf> {
    let whole = Path::new(root).join(path.trim_start_matches('/'));
    whole
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .map(Path::to_path_buf)
        .collect()
}

/// `cpu.max` of version 2: `max 100000` or `50000 100000`.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cfs(quota, period)
}

/// Quota and period in microseconds; no quota is `max` or `-1`.
fn cfs(quota: &str, period: &str) -> Option<f64> {
    let quota = quota.trim().parse::<u32>().ok()?;
    let period = period.trim().parse::<u32>().ok()?;
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        |path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        }
    }

    fn cpus(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("not zero")
    }

    #[test]
    fn version_2_takes_the_smallest_of_the_group_and_its_parents() {
        let read = files(&[
            ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n"),
        ]);
        assert_eq!(quota("0::/pod/container\n", read), Some(1.5));
    }

    #[test]
    fn version_1_reads_quota_and_period_of_the_cpu_controller() {
        let read = files(&[
            ("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1\n"),
            (
                "/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us",
                "100000\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "25000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(
            quota("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n", read),
            Some(0.25)
        );
    }

    #[test]
    fn no_quota_is_no_answer() {
        assert_eq!(
            quota("0::/\n", files(&[("/sys/fs/cgroup/cpu.max", "max 100000\n")])),
            None
        );
        assert_eq!(quota("0::/\n", files(&[])), None);
        assert_eq!(
            quota("nonsense\n\n0:\n", files(&[("/sys/fs/cgroup/cpu.max", "x y")])),
            None
        );
        assert_eq!(
            quota("0::/../..\n", files(&[("/sys/fs/cgroup/cpu.max", "0 0")])),
            None
        );
    }

    #[test]
    fn quotas_are_rounded_up_and_never_zero() {
        assert_eq!(round_up(0.25, cpus(2)), cpus(1));
        assert_eq!(round_up(1.0, cpus(2)), cpus(1));
        assert_eq!(round_up(1.5, cpus(1)), cpus(2));
        assert_eq!(round_up(64.0, cpus(2)), cpus(2));
    }
}
