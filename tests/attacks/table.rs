//! The table: a line for each attack while they run, and the whole for `docs/security.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::attack::{Attack, Cpu};
use crate::evidence::Evidence;
use crate::verdict::Verdict;

const MIB: u64 = 1 << 20;
const HEAD: &str = "\
| attack | ended | worst wait (without) | RSS (grown) | CPU of us / of the attacker |
|---|---|---|---|---|
";

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Table {
    pub(crate) fn add(&mut self, attack: &Attack, evidence: &Evidence, verdict: &Verdict) {
        self.rows.push(row(attack, evidence));
        if verdict.is_good() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Number of attacks that passed, and that failed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.passed, self.failed)
    }

    /// Fails for each attack that `docs/security.md` does not name.
    pub(crate) fn complain_of_docs(&mut self) {
        let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap_or_default();
        for attack in crate::attack::all() {
            let name = format!("| {}:", attack.name);
            if !page.contains(&name) {
                eprintln!("docs/security.md has no row for {}", attack.name);
                self.failed += 1;
            }
        }
    }

    /// Writes it beside the log of the proof, from where `scripts/attack-table` takes it.
    pub(crate) fn keep(&self) {
        let folder = root().join(".proof");
        std::fs::create_dir_all(&folder).unwrap();
        let table = format!("{HEAD}{}", self.rows.concat());
        std::fs::write(folder.join("attacks.md"), table).unwrap();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

fn row(attack: &Attack, evidence: &Evidence) -> String {
    let tally = &evidence.tally;
    let mut row = format!("| {}: {}", attack.name, attack.does);
    write!(row, " | {}", tally.ended()).unwrap();
    let (worst, calm) = (evidence.attacked.worst, evidence.calm.worst);
    write!(row, " | {} ({})", ms(worst), ms(calm)).unwrap();
    let (most, grown) = (evidence.attacked.memory / MIB, evidence.grown() / MIB);
    write!(row, " | {most} MiB (+{grown})").unwrap();
    let (ours, theirs) = (evidence.gateway_cpu().as_secs_f64(), tally.cpu.as_secs_f64());
    write!(
        row,
        " | {ours:.2} s / {theirs:.2} s = {:.1}",
        evidence.cpu_ratio()
    )
    .unwrap();
    if attack.cpu == Cpu::Stated {
        row.push_str(" (not judged)");
    }
    if evidence.repeated {
        row.push_str("; second try");
    }
    row + " |\n"
}

/// One line for the terminal.
pub(crate) fn line(attack: &Attack, evidence: &Evidence, verdict: &Verdict) -> String {
    let seen = &evidence.attacked;
    let mut line = format!(
        "{:24} {} RPCs beside it, worst {} (calm {}, harness late {}, gateway kept waiting {}), {} MiB (+{}), CPU {:.2} s to {:.2} s = {:.1}, {}",
        attack.name,
        seen.answers,
        ms(seen.worst),
        ms(evidence.calm.worst),
        ms(seen.late),
        ms(seen.gateway.waited),
        seen.memory / MIB,
        evidence.grown() / MIB,
        evidence.gateway_cpu().as_secs_f64(),
        evidence.tally.cpu.as_secs_f64(),
        evidence.cpu_ratio(),
        evidence.tally.ended(),
    );
    for complaint in verdict.facts.iter().chain(&verdict.times) {
        write!(line, "\n    FAILED: {complaint}").unwrap();
    }
    line
}
