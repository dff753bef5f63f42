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

/// A source of chance that prints the value of `H2GATE_SEED` which repeats it.
fn seeded(test: &str) -> StdRng {
    let seed = std::env::var("H2GATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("{test}: H2GATE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
