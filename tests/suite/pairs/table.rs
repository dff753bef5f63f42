//! The table as it is written, and what must hold of each row.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::Row;
use super::fed::Fate;
use super::judges::{Answer, Answers, JUDGES};
use super::kinds::{Kind, Kinds, Sort};

/// Asks for it to be written, and not compared.
const UPDATE: &str = "UPDATE_CERTIFICATE_PAIRS";

const HEAD: &str = "# Pairs of certificates and keys, kind by kind

What four clients say to each kind, and what h2gate does with it when nothing serves yet. Written by a test
(`UPDATE_CERTIFICATE_PAIRS=1 cargo test -p e2e --test suite pairs::`), which makes each pair, asks the clients, feeds h2gate,
and fails when a cell here is not true. h2gate takes what all four take and refuses what all four refuse; where they differ, or
where it does otherwise, the last column says why. What it means, and what to do: [certificates.md](certificates.md).

- **yes**, **no**: whether the client ends a handshake with a server that shows exactly this chain. It trusts the root, but for
  where the kind says otherwise. **no → yes**: what h2gate serves of it, in order and without what is superfluous, it takes.
- In *Files* and *PKCS#12*: whether the client reads the pair, to show it itself. **–**: it has no reader for that. In the other
  secrets and in a CA's answers: as for the same chain above.
- Clients of other versions and builds may decide otherwise. The test compares the columns of these alone:
";

/// Fails when a row has no reason that needs one, or when the written table is another.
pub(super) fn judge(kinds: &Kinds, rows: &BTreeMap<String, Row>, versions: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/certificate_pairs.md");
    let is_update = std::env::var_os(UPDATE).is_some();
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let is_versions = |line: &&str| line.trim_start().starts_with(JUDGES[0]);
    let known = written.lines().find(is_versions).unwrap_or_default().trim();
    let is_known =
        |version: &String| is_update || known.split(", ").any(|known| minor(known) == minor(version));
    let compared: Vec<bool> = versions.iter().map(is_known).collect();

    let mut wrong = Vec::new();
    let mut table = String::from(HEAD);
    writeln!(table, "  {}", versions.join(", ")).unwrap();
    let mut group = "";
    for kind in kinds.all() {
        let row = &rows[&kind.id];
        if compared.iter().all(|compared| *compared) {
            wrong.extend(contradictions(kind, row));
        }
        if kind.group != group {
            group = &kind.group;
            let judges = JUDGES.join(" | ");
            write!(
                table,
                "\n## {group}\n\n| kind | {judges} | h2gate | why |\n|---|---|---|---|---|---|---|\n"
            )
            .unwrap();
        }
        table.push_str(&line(kinds, kind, row));
        table.push('\n');
    }
    assert!(kinds.all().len() >= 60, "{} kinds", kinds.all().len());
    if is_update {
        std::fs::write(&path, &table).unwrap();
    } else {
        let cells = |text: &str| -> Vec<Vec<String>> {
            let rows = text.lines().filter(|line| line.starts_with("| "));
            rows.map(|row| cells(row, &compared)).collect()
        };
        let (is, was) = (cells(&table), cells(&written));
        let others = is.iter().zip(&was).filter(|(is, was)| is != was);
        wrong.extend(others.map(|(is, was)| format!("in the table {was:?}\n     and is {is:?}")));
        if is.len() != was.len() {
            wrong.push(format!("{} rows, and the table has {}", is.len(), was.len()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{UPDATE}=1 writes the table anew",
        wrong.join("\n")
    );
}

/// `Go 1.26` of `Go 1.26.8`.
fn minor(version: &str) -> Vec<&str> {
    version.trim_end().split('.').take(2).collect()
}

/// A row without the columns of those who are not compared.
fn cells(row: &str, compared: &[bool]) -> Vec<String> {
    let cells = row.trim_matches('|').split(" | ").enumerate();
    cells
        .filter(|(column, _)| {
            column
                .checked_sub(1)
                .and_then(|judge| compared.get(judge))
                .is_none_or(|kept| *kept)
        })
        .map(|(_, cell)| cell.trim().to_owned())
        .collect()
}

fn line(kinds: &Kinds, kind: &Kind, row: &Row) -> String {
    let is_chain = kind.sort == Sort::Chain || kind.like.is_some();
    let answers: Vec<String> = (0..JUDGES.len())
        .map(|judge| {
            let of = |answers: &Option<Answers>| answers.as_ref().map(|answers| answers[judge].to_string());
            match (of(&row.came), of(&row.served)) {
                (Some(came), Some(served)) if is_chain && came != served => format!("{came} → {served}"),
                (came, _) => came.unwrap_or_else(|| "–".to_owned()),
            }
        })
        .collect();
    let fate = match &row.fate {
        Fate::Serves(warnings) if warnings.is_empty() => "serves".to_owned(),
        Fate::Serves(warnings) => format!("serves, with a warning: {}", warnings.join("; ")),
        Fate::Refused(reason) => format!("refused: {}", short(kinds, reason)),
    };
    let cells = std::iter::once(kind.what.clone())
        .chain(answers)
        .chain([fate, kind.why.clone()]);
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |", cells.join(" | ")).replace("|  |", "| |")
}

/// Without its place, and without what is another in each run: dates, lengths, the name of Pebble's CA.
fn short(kinds: &Kinds, reason: &str) -> String {
    let folder = kinds.folder().to_str().unwrap();
    let is_place = [folder, "secret ", "localhost"]
        .iter()
        .any(|place| reason.starts_with(place));
    let text = match reason.split_once(": ") {
        Some((_, text)) if is_place => text,
        _ => reason,
    };
    let mut before = "";
    let words = text.split(' ').map(|word| {
        let number = word.trim_end_matches([',', ')']);
        let is_other = match std::mem::replace(&mut before, word) {
            "column" => true,
            "has" => number.len() > 4 && number.parse::<u64>().is_ok(),
            "CA" => number.len() == 6 && number.chars().all(|c| c.is_ascii_hexdigit()),
            _ => false,
        };
        if is_other {
            return format!("…{}", word.trim_start_matches(number));
        }
        let is_date = word.len() >= 20 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
        if is_date {
            format!("…{}", &word[20..])
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The contradictions to the rules in the table's head.
fn contradictions(kind: &Kind, row: &Row) -> Vec<String> {
    let mut wrong = Vec::new();
    let id = &kind.id;
    let serves = matches!(row.fate, Fate::Serves(_));
    let Some(came) = &row.came else {
        if !serves && kind.why.is_empty() {
            wrong.push(format!("{id}: refused, and no reason why: {:?}", row.fate));
        }
        return wrong;
    };
    let verdicts: Vec<bool> = came
        .iter()
        .filter(|answer| **answer != Answer::None)
        .map(|answer| *answer == Answer::Yes)
        .collect();
    let (any, all) = (verdicts.contains(&true), !verdicts.contains(&false));
    // A pair that all refuse may serve if it is corrected.
    let is_mended = row
        .served
        .as_ref()
        .is_some_and(|served| served.iter().all(|answer| *answer == Answer::Yes));
    let agree = if any == all {
        serves == all || (serves && is_mended)
    } else {
        serves && is_mended
    };
    if !agree && kind.why.is_empty() {
        wrong.push(format!(
            "{id}: {:?} and no reason why: {came:?}, then {:?}",
            row.fate, row.served
        ));
    }
    // Whatever h2gate does to a chain, nobody is lost by it.
    for (judge, name) in JUDGES.iter().enumerate() {
        if let (Answer::Yes, Some(served)) = (&came[judge], &row.served)
            && let Answer::No(words) = &served[judge]
        {
            wrong.push(format!(
                "{id}: {name} takes what came, and not what is served: {words}"
            ));
        }
    }
    wrong
}
