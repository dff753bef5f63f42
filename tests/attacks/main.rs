//! The attack suite: attacks of clients and of backends, each beside clients that mean well, and their cost.
//!
//! For each attack a gateway of one worker is started in a process of its own, twenty quiet clients keep their
//! connections to it and ask every few milliseconds, and the attacker, in a third process, does its worst and begins
//! again whenever it is sent away. Judged are failures of the quiet clients, their worst wait, the gateway's memory,
//! and its CPU time beside the attacker's. `docs/security.md` has the table of the last proof.
//!
//! A binary without the usual harness: the attacks must run one after another, and the attacker's process is this
//! program again ([`attacker`]). `cargo test -p e2e --test attacks -- rapid` runs those with `rapid` in their names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure is a failed test"
)]

mod attack;
mod attacker;
mod backend;
mod evidence;
mod process;
mod quiet;
mod scene;
mod table;
mod verdict;

use std::process::ExitCode;
use std::time::Instant;

use e2e::proof;

use crate::attack::Attack;
use crate::scene::Scene;
use crate::table::Table;
use crate::verdict::{Verdict, judge};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [attacker::COMMAND, orders] => {
            attacker::run(orders);
            ExitCode::SUCCESS
        }
        _ => suite(&words),
    }
}

/// Runs the attacks whose names have one of these words (all, if there are none), and reports as cargo's runner does.
fn suite(words: &[String]) -> ExitCode {
    quiet::check_itself();
    verdict::check_itself();
    let wanted: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<_> = attack::all()
        .filter(|attack| wanted.is_empty() || wanted.iter().any(|word| attack.name.contains(word.as_str())))
        .collect();
    // Here, while there is one thread: those that come inherit the place.
    process::take_place();
    let began = Instant::now();
    let mut table = Table::default();
    for attack in &chosen {
        let (evidence, verdict) = tried(attack);
        eprintln!("{}", table::line(attack, &evidence, &verdict));
        table.add(attack, &evidence, &verdict);
    }
    if wanted.is_empty() {
        table.complain_of_docs();
        if proof() {
            table.keep();
        }
    }
    let (passed, failed) = table.counts();
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        if failed == 0 { "ok" } else { "FAILED" },
        attack::all().count() - chosen.len(),
        began.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One attack, judged. It is tried once more if it failed by time alone and times mean little.
fn tried(attack: &Attack) -> (evidence::Evidence, Verdict) {
    let once = || {
        let evidence = Scene::play(attack);
        let verdict = judge(attack, &evidence);
        (evidence, verdict)
    };
    let (evidence, verdict) = once();
    if !verdict.may_be_noise(&evidence) {
        return (evidence, verdict);
    }
    eprintln!("{}; once more", table::line(attack, &evidence, &verdict));
    let (mut evidence, verdict) = once();
    evidence.repeated = true;
    (evidence, verdict)
}
