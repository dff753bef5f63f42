//! The description of an attack; the attacks themselves are in the files under [`crate::attacker`].

use std::pin::Pin;
use std::time::Duration;

use e2e::{TestGatewayBuilder, proof};

use crate::attacker::{self, Tally, Target};
use crate::evidence::Evidence;

/// The attacker's work, in its own process.
pub(crate) type Work = Pin<Box<dyn Future<Output = Tally>>>;

/// One attack: what is done, against what, and by which measure it is judged.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    /// Its name, on the command line and in the table.
    pub(crate) name: &'static str,
    /// The attacker's actions, for the table.
    pub(crate) does: &'static str,
    /// Does it until the target's time is up.
    pub(crate) work: fn(Target) -> Work,
    /// The backend behind the gateway for the attacker's requests.
    pub(crate) backend: Backend,
    /// The changes to the gateway's usual configuration.
    pub(crate) gateway: fn(TestGatewayBuilder) -> TestGatewayBuilder,
    /// Limits one of which must have been reached; none: it is nobody's fault that can be counted.
    pub(crate) limits: &'static [&'static str],
    /// The bound of memory.
    pub(crate) memory: Memory,
    /// The bound of CPU time.
    pub(crate) cpu: Cpu,
    /// The duration, in a proof and otherwise.
    pub(crate) seconds: Seconds,
    /// Another thing that must hold: a complaint, if it does not.
    pub(crate) also: fn(&Evidence) -> Option<String>,
}

/// The backend behind the gateway for the attacker's requests. The quiet clients have a backend of their own. Each
/// answers its first request, so that there is a connection to it before the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Answers each head at once, all in one head, and swallows the rest.
    Answers,
    /// Never answers; takes whatever comes.
    Mute,
    /// Never answers, and opens no window: bodies stay where they are.
    Shut,
    /// Never answers, and stops reading altogether.
    Deaf,
    /// Answers with a mebibyte, as fast as it is taken.
    Large,
    /// Allows [`STREAMS`] streams on a connection, and answers the quiet clients alone, who share it.
    Full,
    /// The attacker's own.
    Hostile,
}

/// Streams on a connection to [`Backend::Full`].
pub(crate) const STREAMS: u32 = 20;

/// The bound of the gateway's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Resident: `process_memory` and a quarter.
    Process,
    /// Grown by at most 64 MiB.
    Deaf,
}

/// The bound of the gateway's CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cpu {
    /// Less than ten times the attacker's.
    Judged,
    /// Only shown in the table.
    Stated,
}

/// The duration of an attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds {
    pub(crate) proof: f32,
    pub(crate) short: f32,
}

impl Seconds {
    pub(crate) fn now(self) -> Duration {
        Duration::from_secs_f32(if proof() { self.proof } else { self.short })
    }
}

impl Attack {
    /// The values that most attacks have in common.
    pub(crate) const USUAL: Self = Self {
        name: "",
        does: "",
        work: |_| unreachable!("each attack has its work"),
        backend: Backend::Mute,
        gateway: |gateway| gateway,
        limits: &[],
        memory: Memory::Process,
        cpu: Cpu::Judged,
        seconds: Seconds {
            proof: 5.0,
            short: 0.5,
        },
        also: |_| None,
    };
}

/// Every attack, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Attack> {
    [
        attacker::tls::ATTACKS,
        attacker::streams::ATTACKS,
        attacker::heads::ATTACKS,
        attacker::control::ATTACKS,
        attacker::memory::ATTACKS,
        attacker::backends::ATTACKS,
        attacker::crowds::ATTACKS,
    ]
    .into_iter()
    .flatten()
}
