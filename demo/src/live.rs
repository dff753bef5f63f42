//! The line that tells how it goes: redrawn in a terminal, otherwise a new one every 5 s.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::stop::Stop;
use super::tally::{Counts, Kind, Tally};

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

fn line(elapsed: Duration, counts: &Counts) -> String {
    let kinds = Kind::ALL.map(|kind| counts.rpcs.get(&kind).map_or(0, |rpcs| rpcs.succeeded));
    let [get, list, record, chat] = kinds;
    format!(
        "{:>4} s  {} RPCs (get {get}, list {list}, record {record}, chat {chat})  {}  certificate {}  {} handshakes  {}",
        elapsed.as_secs(),
        counts.succeeded(),
        plural(counts.failures, "failure"),
        counts.newest_seen,
        counts.handshakes,
        plural(counts.reconnects, "reconnect"),
    )
}

pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_holds_all_figures() {
        let mut counts = Counts::default();
        counts.handshake(3, 0, Duration::ZERO);
        counts.rpc(Kind::GetFeature, Duration::ZERO, "north".to_owned());
        counts.rpc(Kind::RouteChat, Duration::ZERO, "north".to_owned());
        counts.failure(Duration::ZERO, "oh".to_owned());
        assert_eq!(
            line(Duration::from_millis(7_900), &counts),
            "   7 s  2 RPCs (get 1, list 0, record 0, chat 1)  1 failure  certificate 3  1 handshakes  0 reconnects"
        );
    }
}
