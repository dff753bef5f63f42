//! Fuzz targets as ordinary tests: each seed as it is, then mutations of seeds from a seeded generator.
//!
//! `FUZZ_SEED` sets the seed, `FUZZ_ROUNDS` the number of mutated inputs per target, `FUZZ_SECONDS` a time instead. A
//! failure prints the seed and the input in hex. The seeds are in `fuzz/seeds/` of the crate that is tested.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) fn replay(target: &str, run: fn(&[u8]), rounds: u64) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "no seeds for {target}");
    let seed = from_environment("FUZZ_SEED").unwrap_or(7541);
    let rounds = from_environment("FUZZ_ROUNDS").unwrap_or(rounds);
    let time = from_environment("FUZZ_SECONDS").map(Duration::from_secs);
    println!("FUZZ_SEED={seed} FUZZ_ROUNDS={rounds}");
    let began = Instant::now();
    for input in &seeds {
        run_or_report(run, input);
    }
    let mut random = Random(seed);
    let mut done = 0;
    while time.map_or(done < rounds, |time| began.elapsed() < time) {
        run_or_report(run, &mutated(&seeds, &mut random));
        done += 1;
    }
    println!("{target}: {done} inputs in {:?}", began.elapsed());
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // The order of a folder is not the same everywhere, and the generator's choices follow it.
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[allow(clippy::disallowed_methods, reason = "rounds and seed are given by variables")]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Prints the input if the run panics.
fn run_or_report(run: fn(&[u8]), input: &[u8]) {
    struct Tell<'a>(&'a [u8]);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("input: {hex}");
            }
        }
    }
    let _tell = Tell(input);
    run(input);
}

/// A seed after some of what fuzzers do: bytes changed, put in, taken out, doubled, or followed by another seed.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(seeds).clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.byte();
                }
            }
            2 => input.insert(at, random.byte()),
            3 => drop(input.drain(at..(at + random.below(9)).min(input.len()))),
            4 => {
                let end = (at + random.below(40)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let other = random.pick(seeds);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let edges = [0x00, 0x01, 0x1F, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xBE, 0xFF];
                input.splice(at..at, std::iter::repeat_n(*random.pick(&edges), random.below(6)));
            }
        }
    }
    input
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
