//! The bounds of what may be kept: what is free of a connection, what of memory is left for what is counted, and whose
//! part is what.

/// The memory of a connection that holds little, which is not counted: tables, a small stream table, and a few RPCs
/// under way. Of one that holds twice as much everything is counted. While connections are many it is less, down to
/// [`LEAST_FREE`], so that of all of them no more than a part of the memory is not counted.
pub(super) const FREE: usize = 16 << 10;
pub(super) const LEAST_FREE: usize = 4 << 10;
/// The memory that is not counted may make the process larger than its memory by such a part; what is more takes from
/// peers.
const BEYOND: usize = 6;
/// The part of the memory for those who are no clients: one for what backends have begun and not ended, and one for
/// handshakes.
pub(super) const PARTS: usize = 4;
/// The memory of a connection without RPCs, about.
pub(super) const IDLE: usize = 8 << 10;
/// So many looks in a row at memory that nobody is charged with, half a second apart, and it counts: the allocator gives
/// pages back later than they are free.
pub(super) const LOOKS: usize = 5;

/// The charge of a connection that has so much from the allocator.
pub(super) fn charged_for(held: usize, free: usize) -> usize {
    let free = free.saturating_sub(held.saturating_sub(free));
    held.saturating_sub(free)
}

/// The part that is free of each of so many connections. In steps, for when it changes all of them are counted again.
pub(super) fn free_of_each(memory_for_peers: usize, connections: usize) -> usize {
    let most = memory_for_peers / PARTS / connections.max(1);
    [FREE, FREE / 2]
        .into_iter()
        .find(|free| *free <= most)
        .unwrap_or(LEAST_FREE)
}

/// The memory that the process had for nobody at all of these looks.
pub(super) fn lasting(beyond: [usize; LOOKS]) -> usize {
    beyond.into_iter().min().unwrap_or(0)
}

/// The memory of the process.
#[derive(Debug, PartialEq)]
pub(crate) struct Resident {
    anonymous: usize,
    /// Pages of files, its own program first. They come as the program is used, and the system takes them back when it
    /// needs them: no peer has to answer for more of them.
    of_files: usize,
}

impl Resident {
    /// `None` where the system does not say.
    pub(crate) fn read() -> Option<Self> {
        Self::read_in(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// The memory by the text of `/proc/self/status`.
    fn read_in(status: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        Some(Self {
            anonymous: bytes("RssAnon:")?,
            of_files: bytes("RssFile:")?,
        })
    }

    pub(super) fn all(&self) -> usize {
        self.anonymous + self.of_files
    }

    /// The memory that it has now, with as many pages of files as it had when this was read.
    pub(super) fn now(&self) -> Option<usize> {
        Some(Self::read()?.anonymous + self.of_files)
    }
}

/// The memory that peers may have while so much of theirs is not counted: at least half of their memory.
pub(super) fn bound(memory_for_peers: usize, process_memory: usize, uncounted: usize) -> usize {
    let too_much = uncounted.saturating_sub(process_memory / BEYOND);
    memory_for_peers - too_much.min(memory_for_peers / 2)
}

/// An equal part for each of so many large clients of what others leave of memory, which is a part of it at least.
pub(super) fn share(bound: usize, by_others: usize, large: usize) -> usize {
    bound.saturating_sub(by_others).max(bound / PARTS) / large.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_little_is_charged_with_nothing_and_who_holds_much_with_all_of_it() {
        let charged: Vec<_> = [0, 16, 17, 24, 31, 32, 1_000]
            .map(|kib| charged_for(kib << 10, FREE) >> 10)
            .into();
        assert_eq!(charged, [0, 0, 2, 16, 30, 32, 1_000]);
        assert_eq!(
            [3, 4, 6, 8, 9].map(|kib| charged_for(kib << 10, LEAST_FREE) >> 10),
            [0, 0, 4, 8, 9]
        );
    }

    #[test]
    fn what_is_not_counted_of_many_connections_takes_from_what_is() {
        let (peers, process) = (44 << 20, 64 << 20);
        let free: Vec<_> = [0, 1, 704, 705, 1_408, 1_409, 100_000]
            .map(|connections| free_of_each(peers, connections) >> 10)
            .into();
        assert_eq!(free, [16, 16, 16, 8, 8, 4, 4]);
        // Until the half of it is left.
        for connections in [10, 682, 704, 1_000, 2_000, 2_700] {
            let uncounted = connections * (IDLE + free_of_each(peers, connections));
            let bound = bound(peers, process, uncounted);
            assert!(bound > peers / 2, "{connections}");
            assert!(uncounted + bound <= peers + process / BEYOND, "{connections}");
        }
        assert_eq!(bound(peers, process, 100_000 * (IDLE + LEAST_FREE)), peers / 2);
    }

    #[test]
    fn what_the_process_has_for_nobody_counts_once_it_has_lasted() {
        assert_eq!(lasting([60, 60, 60, 60, 10]), 10);
        assert_eq!(lasting([60, 55, 60, 60, 70]), 55);
    }

    #[test]
    fn what_is_resident_is_reported_in_kib() {
        let status = "VmRSS:\t   21292 kB\nRssAnon:\t    3088 kB\nRssFile:\t   18204 kB\nRssShmem:\t 0 kB\n";
        let resident = Resident::read_in(status).unwrap();
        assert_eq!(
            (resident.anonymous, resident.of_files),
            (3_088 << 10, 18_204 << 10)
        );
        assert_eq!(resident.all(), 21_292 << 10);
        assert_eq!(Resident::read_in("RssAnon:\t 99 kB\n"), None);
        let own = Resident::read().unwrap();
        assert!(own.anonymous > 1 << 17);
        // Pages of files that come later are nobody's.
        let with_more_files = Resident {
            of_files: own.of_files + (1 << 30),
            ..own
        };
        assert!(with_more_files.now().unwrap() > 1 << 30);
    }

    #[test]
    fn a_part_of_memory_is_for_large_clients_whatever_others_hold() {
        let shares: Vec<_> = [0, 40, 80, 1_000].map(|others| share(100, others, 5)).into();
        assert_eq!(shares, [20, 12, 5, 5]);
    }
}
