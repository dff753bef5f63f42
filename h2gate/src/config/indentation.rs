//! Mistakes of indentation and punctuation: tabs, keys one level too deep or too shallow, and
//! text that YAML reads as something else. Works on lines, so that it also helps where YAML gives up.

use super::diagnostic::{Diagnostics, Place};
use super::keys::{Section, Shape, TOP, walk};

/// YAML forbids tabs for indentation, but tells it poorly. `true` if there were any.
pub(super) fn report_tabs(found: &mut Diagnostics) -> bool {
    let tab = |line: &str| {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        let (indentation, rest) = line.split_at(blank);
        let matters = !rest.is_empty() && !rest.starts_with('#');
        matters
            .then(|| indentation.chars().position(|c| c == '\t'))
            .flatten()
    };
    let text = found.text().to_owned();
    let lines = text
        .lines()
        .enumerate()
        .filter_map(|(n, line)| Some((n + 1, tab(line)? + 1)))
        .collect::<Vec<_>>();
    let Some(((line, column), others)) = lines.split_first() else {
        return false;
    };
    let others = match others {
        [] => String::new(),
        [(second, _)] => format!(" (also line {second})"),
        [(second, _), .., (last, _)] => format!(" (also {} lines from {second} to {last})", others.len()),
    };
    let place = Place {
        line: *line,
        column: *column,
        length: 1,
    };
    let remedy = "YAML takes only spaces here: replace each tab by two spaces".to_owned();
    found.error(
        place,
        format!("a tab is used for indentation{others}"),
        Some(remedy),
    );
    true
}

/// Reports a text that is written in another language than YAML. `true` if it is one.
pub(super) fn report_foreign(found: &mut Diagnostics) -> bool {
    let is_block = |line: &str| {
        let mut words = line.split_whitespace();
        let begins = matches!(
            words.next(),
            Some("server" | "http" | "events" | "stream" | "upstream" | "location")
        );
        begins && words.next_back() == Some("{")
    };
    let text = found.text();
    let comment = text.lines().position(|line| !line.trim().is_empty());
    let comment = comment.filter(|index| {
        text.lines()
            .nth(*index)
            .is_some_and(|line| line.starts_with("//"))
    });
    let block = text.lines().position(is_block);
    let block = block.filter(|_| text.lines().any(|line| line.trim_end().ends_with(';')));
    let (index, message, remedy) = match (comment, block) {
        (_, Some(block)) => (
            block,
            "this is written for nginx",
            "the configuration is YAML: see examples/minimal.yaml for the smallest one that serves",
        ),
        (Some(comment), None) => (
            comment,
            "`//` begins no comment in YAML",
            "begin comments with `#`",
        ),
        (None, None) => return false,
    };
    let place = Place {
        line: index + 1,
        column: 1,
        length: 1,
    };
    found.error(place, message, Some(remedy.to_owned()));
    true
}

/// A mapping that was open where a key stands, and the column (from 0) of its keys.
#[derive(Debug, Clone, Copy)]
struct Scope {
    section: &'static Section,
    column: usize,
}

/// Says to which of the mappings around line `line` (from 1) the key on it belongs, if one of them takes
/// it and it stands at another depth: "`tls` belongs under a listener, two spaces deeper".
pub(super) fn where_it_belongs(text: &str, line: usize) -> Option<String> {
    let (column, key) = key_of(text.lines().nth(line.checked_sub(1)?)?)?;
    let better = open_scopes(text, line)
        .into_iter()
        .filter(|scope| scope.column != column && scope.section.key(key).is_some())
        // Of two equally near the deeper one: forgetting two spaces is commoner than adding them.
        .min_by_key(|scope| (scope.column.abs_diff(column), scope.column < column))?;
    let spaces = spaces(better.column.abs_diff(column));
    let direction = if better.column > column {
        "deeper"
    } else {
        "further to the left"
    };
    let under = if better.column == 0 {
        "at the top level".to_owned()
    } else {
        format!("under {}", better.section.title)
    };
    Some(format!("`{key}` belongs {under}, {spaces} {direction}"))
}

/// The mappings that lines before `line` have opened and not clearly closed.
fn open_scopes(text: &str, line: usize) -> Vec<Scope> {
    let mut scopes = vec![Scope {
        section: &TOP,
        column: 0,
    }];
    // A key whose value begins on the next line: its section is open at a column not yet known.
    let mut opened: Option<Scope> = None;
    // Sections that were opened and got no keys: what follows at their own column may be meant for them.
    let mut emptied: Vec<Scope> = Vec::new();
    for text in text.lines().take(line - 1) {
        let Some((column, key)) = key_of(text) else {
            continue;
        };
        emptied.retain(|scope| column >= scope.column);
        if let Some(scope) = opened.take() {
            if column > scope.column {
                scopes.push(Scope { column, ..scope });
            } else {
                emptied.push(scope);
            }
        }
        // A list's items share one scope, so a dash closes nothing that a plain key would not.
        scopes.retain(|scope| scope.column <= column);
        let shape = scopes
            .iter()
            .rev()
            .find(|s| s.column == column)
            .and_then(|s| s.section.key(key))
            .map(|k| k.shape);
        let value_follows = text.trim_end().ends_with(':');
        opened = match shape {
            Some(Shape::Map(section) | Shape::Maps(section)) if value_follows => {
                Some(Scope { section, column })
            }
            _ => None,
        };
    }
    let expected = emptied.into_iter().chain(opened);
    scopes.extend(expected.map(|scope| Scope {
        column: scope.column + 2,
        ..scope
    }));
    scopes
}

/// The key on a line and its column (from 0), behind any dashes of list items.
fn key_of(line: &str) -> Option<(usize, &str)> {
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start_matches(' ');
        match trimmed.strip_prefix("- ") {
            Some(item) => rest = item,
            None => {
                rest = trimmed;
                break;
            }
        }
    }
    let (key, value) = rest.split_once(':')?;
    let word = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    (word && (value.is_empty() || value.starts_with(' '))).then_some((line.len() - rest.len(), key))
}

/// A mistake of syntax: where it is to be corrected, what it is in plain words, and the remedy. The parser
/// stops behind the mistake, often on the next line.
pub(super) fn explain_syntax(text: &str, place: Place, info: &str) -> (Place, String, Option<String>) {
    let lines = text.lines().collect::<Vec<_>>();
    let this = place.line.min(lines.len());
    let written = |n: &usize| {
        n.checked_sub(1)
            .and_then(|n| lines.get(n))
            .is_some_and(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'))
    };
    let before = (1..this).rev().find(written);
    for number in [Some(this), before].into_iter().flatten() {
        let Some(line) = number.checked_sub(1).and_then(|n| lines.get(n)) else {
            continue;
        };
        if let Some((column, length, message, remedy)) = misread(line) {
            return (
                Place {
                    line: number,
                    column,
                    length,
                },
                message.to_owned(),
                Some(remedy),
            );
        }
    }
    if info.contains("quote") {
        let remedy = Some("close it with the same quote on the same line".to_owned());
        return (place, "a quote is opened here and not closed".to_owned(), remedy);
    }
    for number in before.into_iter().chain([this]) {
        let line = number.checked_sub(1).and_then(|n| lines.get(n));
        if let Some((column, bracket)) = line.and_then(|line| open_bracket(line)) {
            let close = if bracket == '{' { '}' } else { ']' };
            let place = Place {
                line: number,
                column: column + 1,
                length: 1,
            };
            return (
                place,
                format!("a `{bracket}` is opened here and not closed"),
                Some(format!("close it with `{close}`")),
            );
        }
    }
    if info.contains("simple key") {
        let bare = |number: &usize| {
            let line = number
                .checked_sub(1)
                .and_then(|n| lines.get(n))
                .map(|line| line.trim());
            line.is_some_and(|line| {
                !line.is_empty() && !line.starts_with('#') && !line.contains(": ") && !line.ends_with(':')
            })
        };
        if let Some(line) = [Some(this), before].into_iter().flatten().find(bare) {
            let text = line
                .checked_sub(1)
                .and_then(|n| lines.get(n))
                .map_or("", |line| *line);
            let word = text.trim_start_matches([' ', '-']);
            let column = text.chars().count() - word.chars().count() + 1;
            let word = word.split(' ').next().unwrap_or_default();
            let place = Place {
                line,
                column,
                length: word.chars().count(),
            };
            let remedy = Some(format!("write `{}:` and its value", super::values::shorten(word)));
            return (place, "a colon is missing behind this key".to_owned(), remedy);
        }
    }
    if let Some(remedy) = where_it_belongs(text, this) {
        return (
            at_key(&lines, this),
            "the indentation does not fit".to_owned(),
            Some(remedy),
        );
    }
    let line = this.checked_sub(1).and_then(|n| lines.get(n));
    if let Some((column, key)) = line.and_then(|line| key_of(line)) {
        let siblings = before
            .and_then(|n| n.checked_sub(1))
            .and_then(|n| lines.get(n))
            .and_then(|line| key_of(line));
        if let Some((other_column, other)) = siblings.filter(|(c, _)| *c != column) {
            let spaces = spaces(other_column.abs_diff(column));
            let side = if column > other_column { "right" } else { "left" };
            let message = "the indentation does not fit".to_owned();
            let remedy = format!(
                "`{key}` begins {spaces} to the {side} of `{other}` above; keys of one mapping begin in one column"
            );
            return (at_key(&lines, this), message, Some(remedy));
        }
    }
    (place, format!("not valid YAML: {info}"), None)
}

fn at_key(lines: &[&str], line: usize) -> Place {
    let key = line
        .checked_sub(1)
        .and_then(|n| lines.get(n))
        .and_then(|line| key_of(line));
    key.map_or(
        Place {
            line,
            column: 1,
            length: 1,
        },
        |(column, key)| Place {
            line,
            column: column + 1,
            length: key.len(),
        },
    )
}

/// Text that must stand in quotes because YAML reads its first character as something else, and other
/// slips within one line. Column from 1, length, message, remedy.
fn misread(line: &str) -> Option<(usize, usize, &'static str, String)> {
    let code = line.split(" #").next().unwrap_or(line);
    let place = |part: &str| {
        code.find(part)
            .map_or(1, |bytes| code.get(..bytes).map_or(1, |b| b.chars().count() + 1))
    };
    let token = |start: &str| -> Option<&str> {
        let from = code.find(start)?;
        let rest = code.get(from..)?.trim_start_matches([' ', ':', '-', ',']);
        let rest = rest
            .strip_prefix("[*")
            .map_or(rest, |_| rest.get(1..).unwrap_or(rest));
        let end = rest.find([' ', ',', '}']).unwrap_or(rest.len());
        rest.get(..end).filter(|token| !token.is_empty())
    };
    for start in [": [:", "- [:", ", [:", "[[:"] {
        if let Some(address) = token(start) {
            let address = if start == "[[:" {
                address.get(1..).unwrap_or(address)
            } else {
                address
            };
            let address = match address.rsplit_once(']') {
                Some((head, tail)) if tail.is_empty() && head.contains(']') => head,
                _ => address,
            };
            let remedy = format!("put the address in quotes: \"{address}\"");
            return Some((
                place(address),
                address.chars().count(),
                "YAML reads a bare `[` as the begin of a list",
                remedy,
            ));
        }
    }
    for start in [": *", "- *", "[*", ", *"] {
        if let Some(pattern) = token(start) {
            let pattern = pattern.trim_end_matches(']');
            let remedy = format!("put the pattern in quotes: \"{pattern}\"");
            return Some((
                place(pattern),
                pattern.chars().count(),
                "YAML reads a bare `*` as the name of an alias",
                remedy,
            ));
        }
    }
    let bare = code.trim_start_matches([' ', '-']);
    if let Some((key, value)) = bare.split_once(':')
        && !value.is_empty()
        && !value.starts_with([' ', '/'])
        && known(key)
    {
        let remedy = format!("write `{key}: {}`", value.trim());
        return Some((
            place(bare),
            key.len() + 1,
            "a space is missing behind the colon",
            remedy,
        ));
    }
    for mark in ["@", "`", "%"] {
        if let Some(value) = token(&format!(": {mark}")) {
            let remedy = format!("put the value in quotes: \"{value}\"");
            return Some((
                place(value),
                value.chars().count(),
                "YAML keeps this character for itself",
                remedy,
            ));
        }
    }
    None
}

/// The first bracket of a line that the line does not close, outside quotes, with its column from 0.
fn open_bracket(line: &str) -> Option<(usize, char)> {
    let mut open = Vec::new();
    let mut quote = None;
    for (column, c) in line.chars().enumerate() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None, '{' | '[') => open.push((column, c)),
            (None, '}' | ']') => {
                let opener = if c == '}' { '{' } else { '[' };
                match open.last() {
                    Some((_, bracket)) if *bracket == opener => drop(open.pop()),
                    // Another bracket closes around it.
                    Some(unclosed) => return Some(*unclosed),
                    None => {}
                }
            }
            _ => {}
        }
    }
    open.first().copied()
}

/// Says if any mapping has such a key.
fn known(word: &str) -> bool {
    let mut found = false;
    walk(&mut |_, section| found |= section.key(word).is_some());
    found
}

fn spaces(n: usize) -> String {
    const WORDS: [&str; 9] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight",
    ];
    let number = WORDS
        .get(n)
        .map_or_else(|| n.to_string(), |word| (*word).to_owned());
    format!("{number} space{}", if n == 1 { "" } else { "s" })
}
