//! By what an attack is judged.

use std::time::Duration;

use e2e::{Metrics, proof};

use crate::attack::{Attack, Cpu, Memory};
use crate::attacker::Tally;
use crate::evidence::{Evidence, Seen};
use crate::quiet;

const MIB: u64 = 1 << 20;
/// `limits.process_memory` of every gateway of the suite.
pub(crate) const PROCESS_MEMORY: u64 = 64 * MIB;
/// Memory that clients that read nothing may cost.
const DEAF: u64 = 64 * MIB;
/// CPU time that the gateway may take, in multiples of the attacker's.
const CPU: f64 = 10.0;

/// The complaints; none: it was defended.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// About what was done.
    pub(crate) facts: Vec<String>,
    /// About how long it took, which others on the machine may have caused.
    pub(crate) times: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.facts.is_empty() && self.times.is_empty()
    }

    /// It fails by time alone, and others had the machine meanwhile.
    pub(crate) fn may_be_noise(&self, evidence: &Evidence) -> bool {
        self.facts.is_empty() && !self.times.is_empty() && evidence.disturbed()
    }
}

/// The longest wait of a quiet client. A gateway without optimisation, on a machine that compiles something else, is no
/// measure of ours.
fn worst_wait() -> Duration {
    Duration::from_millis(if proof() { 100 } else { 1_500 })
}

pub(crate) fn judge(attack: &Attack, evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let facts = &mut verdict.facts;
    if !evidence.alive {
        facts.push("the gateway has ended".to_owned());
    }
    if let Some(trouble) = &evidence.tally.trouble {
        facts.push(format!("the attack itself failed: {trouble}"));
    }
    if evidence.tally.connections == 0 {
        facts.push("the attacker made no connection".to_owned());
    }
    if evidence.attacked.answers == 0 {
        facts.push("no quiet client had an answer".to_owned());
    }
    if !evidence.attacked.failures.is_empty() {
        let failures = &evidence.attacked.failures;
        facts.push(format!("{} quiet RPCs failed: {}", failures.len(), failures[0]));
    }
    facts.extend(memory(attack, evidence));
    facts.extend(limits(attack, evidence));
    facts.extend(left(evidence));
    facts.extend((attack.also)(evidence));
    let times = &mut verdict.times;
    if evidence.attacked.worst > worst_wait() {
        times.push(format!("a quiet client waited {:.0?}", evidence.attacked.worst));
    }
    let patience = Duration::from_secs(if proof() { 1 } else { 5 });
    if evidence.newcomer.is_none_or(|waited| waited > patience) {
        times.push(format!("a newcomer waited {:.0?}", evidence.newcomer));
    }
    // Without optimisation on either side the ratio says nothing.
    if proof() && attack.cpu == Cpu::Judged && evidence.cpu_ratio() >= CPU {
        times.push(format!("{:.1} times the attacker's CPU", evidence.cpu_ratio()));
    }
    verdict
}

fn memory(attack: &Attack, evidence: &Evidence) -> Option<String> {
    let (what, most, bound) = match attack.memory {
        // A program without optimisation is half as large as the bound.
        Memory::Process if proof() => ("resident", evidence.attacked.memory, PROCESS_MEMORY * 5 / 4),
        Memory::Process => ("grown by", evidence.grown(), PROCESS_MEMORY * 5 / 4),
        Memory::Deaf => ("grown by", evidence.grown(), DEAF),
    };
    (most > bound).then(|| format!("{what} {} MiB", most / MIB))
}

/// Connections of clients that are open beside the quiet ones.
pub(crate) fn left_behind(metrics: &Metrics) -> usize {
    let open = metrics.sum("h2gate_connections", &[]);
    (open as usize).saturating_sub(quiet::CLIENTS)
}

fn left(evidence: &Evidence) -> Option<String> {
    let left = left_behind(evidence.metrics.as_ref()?);
    (left > 0).then(|| format!("{left} connections are left behind"))
}

fn limits(attack: &Attack, evidence: &Evidence) -> Option<String> {
    let Some(metrics) = &evidence.metrics else {
        return Some("the metrics do not answer".to_owned());
    };
    let reached = |limit: &&str| metrics.sum("h2gate_limits_reached_total", &[("limit", limit)]) > 0.5;
    (!attack.limits.is_empty() && !attack.limits.iter().any(reached))
        .then(|| format!("{} not reached", attack.limits.join(" or ")))
}

/// A stall and an attack that never was are complained of, and what went well is not.
pub(crate) fn check_itself() {
    let limits = "# TYPE h2gate_limits_reached_total counter\n";
    let well = || Evidence {
        calm: Seen::default(),
        attacked: Seen {
            answers: 1,
            ..Seen::default()
        },
        memory_before: 0,
        tally: Tally {
            connections: 1,
            ..Tally::default()
        },
        metrics: Some(Metrics::parse(limits)),
        log: String::new(),
        newcomer: Some(Duration::ZERO),
        alive: true,
        repeated: false,
    };
    let judged = |evidence: &Evidence| judge(&Attack::USUAL, evidence).facts;
    assert_eq!(judged(&well()), [""; 0]);
    let mut stalled = well();
    stalled.attacked.answers = 0;
    assert_eq!(judged(&stalled), ["no quiet client had an answer"]);
    let mut alone = well();
    alone.tally.connections = 0;
    assert_eq!(judged(&alone), ["the attacker made no connection"]);
}
