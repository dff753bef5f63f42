//! The evidence of one attack.

use std::time::Duration;

use e2e::Metrics;

use crate::attacker::Tally;
use crate::process::Usage;

/// The evidence of one attack.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// Before the attack.
    pub(crate) calm: Seen,
    /// From its beginning until a moment after its end.
    pub(crate) attacked: Seen,
    /// Resident memory of the gateway before it, in bytes.
    pub(crate) memory_before: u64,
    /// The attacker's own record.
    pub(crate) tally: Tally,
    /// The gateway's metrics afterwards; none if it does not answer.
    pub(crate) metrics: Option<Metrics>,
    /// The gateway's log.
    pub(crate) log: String,
    /// Time for which a client that came afterwards waited for its first response; `None` if there was none.
    pub(crate) newcomer: Option<Duration>,
    /// The gateway runs.
    pub(crate) alive: bool,
    /// It is the second try.
    pub(crate) repeated: bool,
}

/// The measurements of one span of time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Answers to the quiet clients.
    pub(crate) answers: usize,
    /// The failures of the quiet clients.
    pub(crate) failures: Vec<String>,
    /// Their worst wait.
    pub(crate) worst: Duration,
    /// The most resident memory of the gateway, in bytes.
    pub(crate) memory: u64,
    /// The gateway's CPU time, and its wait for a CPU.
    pub(crate) gateway: Usage,
    /// The longest delay of a thread that only sleeps, beside the quiet clients or the gateway: the harm that other
    /// processes of the machine did to both.
    pub(crate) late: Duration,
}

impl Evidence {
    /// The gateway's CPU time for the attack: without what the quiet clients cost.
    pub(crate) fn gateway_cpu(&self) -> Duration {
        let each = self.calm.gateway.cpu.as_secs_f64() / self.calm.answers.max(1) as f64;
        let quiet = Duration::from_secs_f64(each * self.attacked.answers as f64);
        self.attacked.gateway.cpu.saturating_sub(quiet)
    }

    /// The gateway's CPU time for the attack, in times of the attacker's.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.gateway_cpu().as_secs_f64() / self.tally.cpu.as_secs_f64().max(1e-6)
    }

    /// Memory that the gateway has taken for the attack, in bytes.
    pub(crate) fn grown(&self) -> u64 {
        self.attacked.memory.saturating_sub(self.memory_before)
    }

    /// Others took so much of the machine that times mean little, or the attacker so little that no ratio to it does.
    pub(crate) fn disturbed(&self) -> bool {
        const LATE: Duration = Duration::from_millis(20);
        const LITTLE: Duration = Duration::from_millis(100);
        self.attacked.late > LATE || self.calm.worst > LATE || self.tally.cpu < LITTLE
    }
}
