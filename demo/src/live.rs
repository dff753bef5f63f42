//! The line that shows the state: redrawn in a terminal, otherwise a new one every 5 s.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::stop::Stop;
use super::tally::{Counts, Tally};

const REDRAW: Duration = Duration::from_millis(250);
const NEW_LINE: Duration = Duration::from_secs(5);

pub(super) async fn run(tally: Arc<Tally>, mut stop: Stop) {
    let terminal = std::io::stderr().is_terminal();
    while stop.pause(if terminal { REDRAW } else { NEW_LINE }).await {
        let line = line(tally.elapsed(), &tally.counts());
        // Erase, and no wrapping: half a line is better than a screen full of them.
        write(&if terminal {
            format!("\r\x1b[2K\x1b[?7l{line}\x1b[?7h")
        } else {
            format!("{line}\n")
        });
    }
    if terminal {
        write("\r\x1b[2K");
    }
}

/// Nobody may be reading; the demo goes on.
fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// At most 80 columns, whatever the figures are. The kinds of RPCs have their rows in the summary.
fn line(elapsed: Duration, counts: &Counts) -> String {
    let certificate = figure(counts.newest_seen);
    let [rpcs, failed, handshakes, reconnects] = [
        (counts.succeeded(), "RPC", "s"),
        (counts.failures, "failed", ""),
        (counts.handshakes, "handshake", "s"),
        (counts.reconnects, "reconnect", "s"),
    ]
    .map(|(count, noun, plural)| format!("{} {noun}{}", figure(count), if count == 1 { "" } else { plural }));
    format!(
        "{:>5} {rpcs}  {failed}  certificate {certificate}  {handshakes}  {reconnects}",
        time(elapsed)
    )
}

/// A count in at most four characters: from 10,000 on in thousands, then in millions and so on, rounded down.
fn figure(count: u64) -> String {
    let (mut count, mut units) = (count, ["", "k", "M", "G", "T", "P"].into_iter());
    let mut unit = units.next();
    while count > if unit == Some("") { 9_999 } else { 999 } {
        count /= 1_000;
        unit = units.next();
    }
    // 2^64 is 18 E.
    format!("{count}{}", unit.unwrap_or("E"))
}

/// A time in at most five characters.
fn time(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..10_000 => format!("{seconds}s"),
        seconds @ 10_000..600_000 => format!("{}m", seconds / 60),
        seconds => format!("{}h", figure(seconds / 3_600)),
    }
}

pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Kind;

    #[test]
    fn the_line_holds_its_figures() {
        let mut counts = Counts::default();
        counts.handshake(3, 0, Duration::ZERO);
        counts.rpc(Kind::GetFeature, Duration::ZERO, "north".to_owned());
        counts.rpc(Kind::RouteChat, Duration::ZERO, "north".to_owned());
        counts.failure(Duration::ZERO, "oh".to_owned());
        assert_eq!(
            line(Duration::from_millis(7_900), &counts),
            "   7s 2 RPCs  1 failed  certificate 3  1 handshake  0 reconnects"
        );
    }

    #[test]
    fn the_line_fits_80_columns_with_the_largest_figures() {
        let line_of = |count, elapsed| {
            let mut counts = Counts {
                handshakes: count,
                reconnects: count,
                newest_seen: count,
                failures: count,
                ..Counts::default()
            };
            counts.rpcs.entry(Kind::GetFeature).or_default().succeeded = count;
            line(elapsed, &counts)
        };
        let widest = line_of(9_999, Duration::from_secs(9_999));
        assert_eq!(widest.len(), 80, "{widest}");
        for (count, figure) in [
            (9_999, "9999"),
            (10_000, "10k"),
            (999_999, "999k"),
            (1_000_000, "1M"),
            (u64::MAX, "18E"),
        ] {
            let line = line_of(count, Duration::from_secs(count));
            assert!(line.len() <= 80, "{line}");
            for shown in [
                format!("certificate {figure}  "),
                format!("  {figure} handshakes  "),
                format!("  {figure} reconnects"),
            ] {
                assert!(line.contains(&shown), "{shown} in {line}");
            }
        }
    }
}
