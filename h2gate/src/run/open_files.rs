//! Connections of clients cost a file descriptor each. If they could take all, nothing were left for backends,
//! certificates and probes; so the limit of connections stays below that of the system.

use crate::config::Resolved;

/// For the admin port, certificates, logs and what else the program opens.
const PROGRAM: u64 = 100;
/// For the sockets, timers and wakers of one worker.
const WORKER: u64 = 16;
/// Even where the system is that tight, a few clients are let in.
const FEW: u64 = 16;

/// That fewer connections are let in than were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lowered {
    wanted: usize,
    fitting: usize,
    open_files: u64,
}

impl Lowered {
    /// Says if it is news after the one that was `logged`. Each endpoint takes a descriptor or two, and such a change is not worth a line.
    pub(super) fn is_news_after(&self, logged: &Self) -> bool {
        let much_less = self.fitting < logged.fitting - logged.fitting / 10;
        (self.wanted, self.open_files) != (logged.wanted, logged.open_files) || much_less
    }

    /// Says so.
    pub(super) fn warn(&self) {
        let Self {
            wanted,
            fitting,
            open_files,
        } = self;
        tracing::warn!(
            wanted,
            fitting,
            open_files,
            "limits.max_connections is lowered: the system allows too few open files"
        );
    }
}

/// Lowers `limits.max_connections` to what the system allows.
pub(super) fn fit(resolved: &mut Resolved, open_files: Option<u64>) -> Option<Lowered> {
    let open_files = open_files?;
    let settings = &mut resolved.gateway;
    let endpoints = settings
        .backends
        .iter()
        .map(|backend| backend.endpoints.len())
        .sum();
    let wanted = settings.limits.max_connections;
    let fitting = wanted.min(fitting(open_files, settings.workers.get(), endpoints));
    settings.limits.max_connections = fitting;
    (fitting < wanted).then_some(Lowered {
        wanted,
        fitting,
        open_files,
    })
}

/// A tenth is kept for what cannot be foreseen, such as second connections to a busy endpoint.
fn fitting(limit: u64, workers: usize, endpoints: usize) -> usize {
    // Each worker has a connection to each endpoint.
    let of_workers = (workers as u64).saturating_mul(WORKER.saturating_add(endpoints as u64));
    let kept = (limit / 10).saturating_add(PROGRAM).saturating_add(of_workers);
    usize::try_from(limit.saturating_sub(kept).max(FEW)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_endpoints_more_or_less_are_no_news() {
        let logged = Lowered {
            wanted: 100_000,
            fitting: 17_874,
            open_files: 20_000,
        };
        for fitting in [17_874, 17_872, 17_876, 16_100, 17_990] {
            assert!(!Lowered { fitting, ..logged }.is_news_after(&logged), "{fitting}");
        }
        let (wanted, open_files) = (50_000, 30_000);
        assert!(Lowered { wanted, ..logged }.is_news_after(&logged));
        assert!(Lowered { open_files, ..logged }.is_news_after(&logged));
        assert!(
            Lowered {
                fitting: 16_000,
                ..logged
            }
            .is_news_after(&logged)
        );
    }

    #[test]
    fn backends_probes_and_certificates_keep_their_descriptors() {
        assert_eq!(fitting(1024, 2, 3), 1024 - 102 - 100 - 2 * (16 + 3));
        assert_eq!(
            fitting(1 << 20, 64, 1000),
            (1 << 20) - (1 << 20) / 10 - 100 - 64 * 1016
        );
        assert_eq!(fitting(64, 2, 1), 16);
    }
}
