//! Named places where a test may end the process, to see the state that a crash there leaves behind.
//!
//! Without the cargo feature `failpoints` nothing of this is compiled in. With it, `H2GATE_FAILPOINT=<name>`
//! (or `<name>#<n>`: at its n-th hit, from 1) aborts the process there, and `H2GATE_FAILPOINT_TRACE=<file>`
//! appends the name of each hit, one a line.

/// A place that a test can name: `site`, or `site:detail` if there is a detail.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn hit(_site: &str, _detail: &str) {}

#[cfg(feature = "failpoints")]
pub(crate) use enabled::hit;

#[cfg(feature = "failpoints")]
mod enabled {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Wanted {
        name: Option<String>,
        turn: u64,
        hits: AtomicU64,
        trace: Option<PathBuf>,
    }

    impl Wanted {
        #[expect(clippy::disallowed_methods, reason = "tests name the failpoint by a variable")]
        fn from_environment() -> Self {
            let name = std::env::var("H2GATE_FAILPOINT").ok();
            let counted = name
                .as_deref()
                .and_then(|name| name.rsplit_once('#'))
                .and_then(|(name, turn)| Some((name.to_owned(), turn.parse().ok()?)));
            let (name, turn) = match counted {
                Some((name, turn)) => (Some(name), turn),
                None => (name, 1),
            };
            Self {
                name,
                turn,
                hits: AtomicU64::new(0),
                trace: std::env::var_os("H2GATE_FAILPOINT_TRACE").map(PathBuf::from),
            }
        }
    }

    /// Aborts the process at this place if the environment names it.
    pub(crate) fn hit(site: &str, detail: &str) {
        static WANTED: OnceLock<Wanted> = OnceLock::new();
        let wanted = WANTED.get_or_init(Wanted::from_environment);
        if wanted.name.is_none() && wanted.trace.is_none() {
            return;
        }
        let name = match detail {
            "" => site.to_owned(),
            detail => format!("{site}:{detail}"),
        };
        if let Some(trace) = &wanted.trace {
            let file = OpenOptions::new().append(true).create(true).open(trace);
            // A trace that cannot be written shows in the test that wants it.
            let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        }
        if wanted.name.as_deref() == Some(name.as_str())
            && wanted.hits.fetch_add(1, Ordering::SeqCst) + 1 == wanted.turn
        {
            std::process::abort();
        }
    }
}
