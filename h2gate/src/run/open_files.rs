//! Connections of clients cost a file descriptor each. If they could take all, nothing were left for backends,
//! certificates and probes; so the limit of connections stays below that of the system.

use crate::config::Resolved;

/// For the admin port, certificates, logs and what else the program opens.
const PROGRAM: u64 = 100;
/// For the sockets, timers and wakers of one worker.
const WORKER: u64 = 16;
/// Even where the system is that tight, a few clients are let in.
const FEW: u64 = 16;

/// Lowers `limits.max_connections` to what the system allows, and says so.
pub(super) fn fit(mut resolved: Resolved, open_files: Option<u64>) -> Resolved {
    let Some(limit) = open_files else { return resolved };
    let settings = &resolved.gateway;
    let endpoints = settings
        .backends
        .iter()
        .map(|backend| backend.endpoints.len())
        .sum();
    let wanted = settings.limits.max_connections;
    let fitting = wanted.min(fitting(limit, settings.workers.get(), endpoints));
    if fitting < wanted {
        tracing::warn!(
            wanted,
            fitting,
            open_files = limit,
            "limits.max_connections is lowered: the system allows too few open files"
        );
        resolved.gateway.limits.max_connections = fitting;
    }
    resolved
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
    fn backends_probes_and_certificates_keep_their_descriptors() {
        assert_eq!(fitting(1024, 2, 3), 1024 - 102 - 100 - 2 * (16 + 3));
        assert_eq!(
            fitting(1 << 20, 64, 1000),
            (1 << 20) - (1 << 20) / 10 - 100 - 64 * 1016
        );
        assert_eq!(fitting(64, 2, 1), 16);
    }
}
