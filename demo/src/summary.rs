//! The end of the demo: what was seen, and whether the promises held.

use std::fmt;
use std::time::Duration;

use super::latency::Latencies;
use super::live::plural;
use super::rotation::SETTLING;
use super::tally::{Counts, Kind, Rpcs};

pub(super) struct Summary {
    pub(super) ran_for: Duration,
    pub(super) rotate_every: Duration,
    /// Certificates written, and so the number of the newest.
    pub(super) written: u64,
    /// The newest that fresh handshakes must have shown by the end.
    pub(super) due: u64,
    pub(super) counts: Counts,
}

impl Summary {
    /// Whatever did not hold; empty after a good run.
    pub(super) fn problems(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut problems = Vec::new();
        if counts.failures > 0 {
            problems.push(plural(counts.failures, "failure"));
        }
        if counts.succeeded() == 0 {
            problems.push("no RPC succeeded".to_owned());
        }
        if counts.newest_seen < self.due {
            let seen = counts.newest_seen;
            problems.push(format!(
                "certificate {} was never seen by a handshake; the newest seen is {seen}",
                self.due
            ));
        }
        if self.ran_for >= self.rotate_every + SETTLING && self.written < 2 {
            problems.push(format!(
                "no new certificate was written, although {:?} have passed",
                self.rotate_every
            ));
        }
        problems
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ran_for,
            written,
            counts,
            ..
        } = self;
        writeln!(f, "\nh2gate demo ran for {:.1} s\n", ran_for.as_secs_f64())?;
        rpcs(f, counts)?;
        let chats = plural(counts.long_chats, "RouteChat");
        writeln!(
            f,
            "\n  held open      {chats} from start to end, {}",
            plural(counts.long_chat_notes, "note")
        )?;
        let served: Vec<_> = counts
            .served_by
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "  answered by    {}", served.join(", "))?;
        let rotations = plural(counts.rotations_seen, "rotation");
        write!(
            f,
            "  certificates   {written} written, {rotations} seen, newest seen {}",
            counts.newest_seen
        )?;
        // Without the word, a reader would take it for a loss.
        let late = counts.newest_seen < *written && counts.newest_seen >= self.due;
        writeln!(
            f,
            "{}",
            if late {
                " (the last came just before the end)"
            } else {
                ""
            }
        )?;
        let fresh = counts.handshakes - counts.kept.min(counts.handshakes);
        writeln!(
            f,
            "  handshakes     {} ({fresh} fresh, {} kept)",
            counts.handshakes, counts.kept
        )?;
        writeln!(f, "  reconnects     {} of kept connections\n", counts.reconnects)?;

        for (at, what) in &counts.told {
            writeln!(f, "  at {:.1} s: {what}", at.as_secs_f64())?;
        }
        match counts.failures.saturating_sub(counts.told.len() as u64) {
            0 => {}
            more => writeln!(f, "  and {more} more")?,
        }
        match self.problems().as_slice() {
            [] => writeln!(f, "Result: good. Nothing failed."),
            problems => writeln!(f, "Result: FAILED. {}.", problems.join("; ")),
        }
    }
}

fn rpcs(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    writeln!(
        f,
        "  {:<14} {:>9} {:>9} {:>10} {:>10}",
        "RPC", "succeeded", "failed", "p50", "p99"
    )?;
    let mut total = Rpcs::default();
    for kind in Kind::ALL {
        let rpcs = counts.rpcs.get(&kind).cloned().unwrap_or_default();
        row(f, &kind, &rpcs)?;
        total.succeeded += rpcs.succeeded;
        total.failed += rpcs.failed;
        total.latencies.merge(&rpcs.latencies);
    }
    row(f, &"all", &total)
}

fn row(f: &mut fmt::Formatter<'_>, name: &dyn fmt::Display, rpcs: &Rpcs) -> fmt::Result {
    let (p50, p99) = (millis(&rpcs.latencies, 50), millis(&rpcs.latencies, 99));
    writeln!(
        f,
        "  {name:<14} {:>9} {:>9} {p50:>10} {p99:>10}",
        rpcs.succeeded, rpcs.failed
    )
}

fn millis(latencies: &Latencies, percent: u64) -> String {
    let latency = latencies.percentile(percent);
    latency.map_or_else(
        || "-".to_owned(),
        |latency| format!("{:.2} ms", latency.as_secs_f64() * 1e3),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of 15 s with a rotation after 10 s, as it should be.
    fn good() -> Summary {
        let mut counts = Counts::default();
        for (number, before) in [(1, 0), (1, 1), (2, 1)] {
            counts.handshake(number, before, Duration::ZERO);
        }
        counts.kept = 1;
        for kind in Kind::ALL {
            counts.rpc(kind, Duration::from_micros(1_500), "guide-1".to_owned());
        }
        let (ran_for, rotate_every) = (Duration::from_secs(15), Duration::from_secs(10));
        Summary {
            ran_for,
            rotate_every,
            written: 2,
            due: 2,
            counts,
        }
    }

    #[test]
    fn a_good_run_has_no_problems_and_says_so() {
        let summary = good();
        assert_eq!(summary.problems(), Vec::<String>::new());
        let text = summary.to_string();
        assert!(text.ends_with("Result: good. Nothing failed.\n"), "{text}");
        assert!(
            text.contains("2 written, 1 rotation seen, newest seen 2"),
            "{text}"
        );
        assert!(text.contains("3 (2 fresh, 1 kept)"), "{text}");
    }

    #[test]
    fn one_failure_fails_the_run_and_is_told() {
        let mut summary = good();
        summary.counts.failed_rpc(
            Kind::GetFeature,
            Duration::from_secs(3),
            &anyhow::anyhow!("Unavailable: gone"),
        );
        assert_eq!(summary.problems(), ["1 failure"]);
        let text = summary.to_string();
        assert!(text.contains("at 3.0 s: GetFeature: Unavailable: gone"), "{text}");
        assert!(text.ends_with("Result: FAILED. 1 failure.\n"), "{text}");
    }

    #[test]
    fn a_run_without_rpcs_fails() {
        let mut summary = good();
        summary.counts.rpcs.clear();
        assert_eq!(summary.problems(), ["no RPC succeeded"]);
    }

    #[test]
    fn a_certificate_that_nobody_saw_fails_the_run_once_it_is_due() {
        let mut summary = good();
        (summary.written, summary.due) = (3, 2);
        assert_eq!(summary.problems(), Vec::<String>::new(), "the third is too young");
        assert!(
            summary
                .to_string()
                .contains("(the last came just before the end)")
        );
        summary.due = 3;
        assert_eq!(
            summary.problems(),
            ["certificate 3 was never seen by a handshake; the newest seen is 2"]
        );
    }

    #[test]
    fn a_rotation_that_never_came_fails_the_run() {
        let mut summary = good();
        (summary.written, summary.due) = (1, 1);
        assert_eq!(
            summary.problems(),
            ["no new certificate was written, although 10s have passed"]
        );
        summary.ran_for = Duration::from_secs(9);
        assert_eq!(
            summary.problems(),
            Vec::<String>::new(),
            "none was to be expected"
        );
        // Written a moment after the tenth second, and so not due at the thirteenth.
        (summary.ran_for, summary.written) = (Duration::from_secs(13), 2);
        assert_eq!(summary.problems(), Vec::<String>::new());
    }
}
