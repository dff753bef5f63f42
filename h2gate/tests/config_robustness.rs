//! No file may panic, hang or fill memory, whatever is in it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use h2gate::config::{self, Diagnostics};

fn refused(text: &str) -> Diagnostics {
    let started = Instant::now();
    let found = config::parse(Path::new("x.yaml"), text).expect_err("it must be refused");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "reading took {:?}",
        started.elapsed()
    );
    found
}

fn assert_refused(text: &str, words: &str) {
    let found = refused(text).to_string();
    assert!(found.contains(words), "{found}");
}

#[test]
fn aliases_do_not_grow_beyond_the_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let before = format!("*a{}", n - 1);
        writeln!(text, "a{n}: &a{n} [{}]", [before.as_str(); 10].join(", ")).unwrap();
    }
    assert_refused(&text, "aliases stand for more than 100000 values");
}

#[test]
fn the_text_that_aliases_stand_for_is_bounded() {
    let long = "x".repeat(500_000);
    assert_refused(
        &format!("a: &a {long}\nb: [{}]\n", ["*a"; 20_000].join(", ")),
        "aliases stand for more than 4 MiB of text",
    );
    // The keys of a mapping are text as well.
    assert_refused(
        &format!("a: &a {{ {long}: 1 }}\nb: [{}]\n", ["*a"; 20_000].join(", ")),
        "aliases stand for more than 4 MiB of text",
    );
    let found = refused(&format!("a: &a {long}\nb: [{}]\n", ["*a"; 20_000].join(", "))).to_string();
    assert!(
        found.contains("x.yaml:2:") && found.contains("use fewer aliases"),
        "{found}"
    );
}

#[test]
fn aliases_of_a_valid_size_are_read() {
    let certificates = "[&c { name: one, files: { chain: /c, key: /k } }]";
    let names = ["*n"; 1_000].join(", ");
    let text = format!(
        "a: &n {}\ncertificates: {certificates}\nb: [{names}]\n",
        "x".repeat(4_000)
    );
    let found = refused(&text).to_string();
    assert!(!found.contains("aliases"), "{found}");
}

#[test]
fn very_many_slips_of_indentation_are_quick() {
    let text = format!("listeners:\n{}", "- a\n  b\n".repeat(110_000));
    assert_refused(&text, "indented too deep");
}

#[test]
fn what_is_no_regular_file_is_refused_and_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for path in [pipe.as_path(), &link, folder.path(), Path::new("/dev/zero")] {
        let found = config::load(path).expect_err("it must be refused").to_string();
        assert!(found.contains("it is not a regular file"), "{found}");
    }
}

#[test]
fn an_alias_inside_its_own_value_is_refused() {
    assert_refused("a: &a [*a]\n", "this alias stands inside the value that it names");
}

#[test]
fn nesting_is_bounded() {
    assert_refused(&"[".repeat(100), "nested deeper than 32 levels");
    refused(&"[".repeat(100_000));
    assert_refused(&"- ".repeat(100_000), "nested deeper than 32 levels");
    assert_refused(&"{a: ".repeat(100), "nested deeper than 32 levels");
}

#[test]
fn very_many_mistakes_are_cut_short() {
    let mut text = String::new();
    for n in 0..9_000 {
        writeln!(text, "- tls: {{ a{n}: 1, b: 1 }}").unwrap();
    }
    let text = format!("listeners:\n{text}");
    let found = refused(&text);
    assert_eq!(found.errors(), 200);
    assert!(found.to_string().contains("there are more mistakes than these"));
    let mut keys = String::new();
    for n in 0..100_000 {
        writeln!(keys, "k{n}: 1").unwrap();
    }
    assert_refused(&keys, "more than 1000 keys in one mapping");
}

#[test]
fn very_many_routes_are_valid_and_quick() {
    let mut text = String::from("listeners: [{ name: a, address: \"127.0.0.1:1\" }]\nroutes:\n");
    for n in 0..10_000 {
        writeln!(text, "- {{ match: {{ host: h{n}.example.com }}, backend: b{n} }}").unwrap();
    }
    text.push_str("backends:\n");
    for n in 0..10_000 {
        writeln!(text, "- {{ name: b{n}, endpoints: [\"e{n}:1\"] }}").unwrap();
    }
    let started = Instant::now();
    let resolved = config::parse(Path::new("x.yaml"), &text).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(resolved.gateway.routes.len(), 10_000);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "reading took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_large_file_is_refused_before_it_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(
        config::load(&path)
            .unwrap_err()
            .to_string()
            .contains("larger than 1 MiB")
    );
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("binary.yaml");
    std::fs::write(&path, b"a: b\nc: \xff\n").unwrap();
    assert!(
        config::load(&path)
            .unwrap_err()
            .to_string()
            .contains("line 2 is not UTF-8")
    );
    let missing = config::load(&folder.path().join("missing.yaml"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("cannot read the file"), "{missing}");
}

#[test]
fn nothing_more_and_less_than_one_mapping_is_refused() {
    assert_refused("", "the file is empty");
    assert_refused("# only a comment\n", "the file is empty");
    assert_refused("just text", "must hold keys and values");
    assert_refused("- a\n- b\n", "must hold keys and values");
    assert_refused("a: 1\n---\nb: 2\n", "a second document begins here");
    assert_refused("? [a]\n: b\n", "a key must be a word");
    assert_refused("a: !secret b\n", "has no meaning here");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_valid() {
    let text = include_str!("../../examples/minimal.yaml").replace('\n', "\r\n");
    config::parse(Path::new("x.yaml"), &format!("\u{feff}{text}")).unwrap_or_else(|found| panic!("{found}"));
}

/// xorshift64*: enough chance for a test, and the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % bound
    }
}

#[test]
fn damaged_files_are_reported_and_never_panic() {
    let seed = match std::env::var("H2GATE_TEST_SEED") {
        Ok(seed) => seed.parse().expect("H2GATE_TEST_SEED is a number"),
        Err(_) => u64::from(std::process::id()) << 20 | 1,
    };
    println!("H2GATE_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    let whole = include_str!("../../examples/full.yaml")
        .chars()
        .collect::<Vec<_>>();
    let odd = [
        '[', ']', '{', '}', ':', '-', '*', '&', '!', '|', '>', '"', '\'', '#', '%', '@', '\t', '\n', ' ',
        '\0', '\r', 'é', '\u{2028}', '?', ',', '~', '<',
    ];
    let mut mended = 0;
    for _ in 0..400 {
        // A piece of the file with a few characters replaced, removed or added.
        let start = if chance.below(2) == 0 {
            0
        } else {
            chance.below(whole.len())
        };
        let end = start + chance.below(whole.len() - start) + 1;
        let mut text = whole[start..end].to_vec();
        for _ in 0..chance.below(6) {
            let at = chance.below(text.len());
            match chance.below(3) {
                0 => text[at] = odd[chance.below(odd.len())],
                1 => text.insert(at, odd[chance.below(odd.len())]),
                _ if text.len() > 1 => drop(text.remove(at)),
                _ => {}
            }
        }
        let text = text.into_iter().collect::<String>();
        match config::parse(Path::new("x.yaml"), &text) {
            Ok(_) => mended += 1,
            Err(found) => {
                assert!(found.errors() > 0 && !found.to_string().is_empty(), "{text}");
                let lines = found.text().lines().count();
                assert!(
                    found.iter().all(|one| one.place.line <= lines),
                    "{found:?}\n{text}"
                );
            }
        }
    }
    assert!(mended < 400, "no file was damaged");
}
