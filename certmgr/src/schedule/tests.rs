//! The schedule and the ledger, judged by months of simulated time.

mod checker;
mod clocks;
mod crashes;
mod in_a_row;
mod moments;
mod outages;
mod properties;
mod simulation;
mod year;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of chance that says what to set to see the same again: `H2GATE_SEED`.
fn seeded(test: &str) -> StdRng {
    let seed = std::env::var("H2GATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("{test}: H2GATE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
