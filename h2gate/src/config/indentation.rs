//! Mistakes of indentation and punctuation: tabs, keys one level too deep or too shallow, and
//! text that YAML reads as something else. Works on lines, so that it also helps where YAML gives up.

use super::diagnostic::{Diagnostics, Place};
use super::keys::{Section, Shape, TOP, walk};
use super::values::shorten;

/// YAML forbids tabs for indentation, but its parser reports them poorly. `true` if there were any.
pub(super) fn report_tabs(found: &mut Diagnostics) -> bool {
    let tab = |(n, line): (usize, &str)| {
        let rest = line.trim_start_matches([' ', '\t']);
        let indentation = line.strip_suffix(rest).unwrap_or_default();
        let matters = !rest.is_empty() && !rest.starts_with('#');
        let column = indentation.chars().position(|c| c == '\t').filter(|_| matters)?;
        Some((n + 1, column + 1))
    };
    let tabs = found
        .text()
        .lines()
        .enumerate()
        .filter_map(tab)
        .collect::<Vec<_>>();
    let Some(((line, column), others)) = tabs.split_first() else {
        return false;
    };
    let others = match others {
        [] => String::new(),
        [(second, _)] => format!(" (also line {second})"),
        [(second, _), .., (last, _)] => format!(" (also {} lines from {second} to {last})", others.len()),
    };
    let message = format!("a tab is used for indentation{others}");
    let remedy = "YAML takes only spaces here: replace each tab by two spaces";
    found.error(Place::new(*line, *column, 1), message, remedy);
    true
}

/// Reports a text that is written in another language than YAML. `true` if it is one.
pub(super) fn report_foreign(found: &mut Diagnostics) -> bool {
    const BLOCKS: [&str; 6] = ["server", "http", "events", "stream", "upstream", "location"];
    let is_block = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| BLOCKS.contains(&word)) && words.next_back() == Some("{")
    };
    let text = found.text();
    let mut written = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let comment = written.next().filter(|(_, line)| line.starts_with("//"));
    let block = text.lines().position(is_block);
    let block = block.filter(|_| text.lines().any(|line| line.trim_end().ends_with(';')));
    let (index, message, remedy) = match (comment, block) {
        (_, Some(block)) => (
            block,
            "this is written for nginx",
            "the configuration is YAML: see examples/minimal.yaml for the smallest one that serves",
        ),
        (Some((comment, _)), None) => (
            comment,
            "`//` begins no comment in YAML",
            "begin comments with `#`",
        ),
        (None, None) => return false,
    };
    found.error(Place::new(index + 1, 1, 1), message, remedy);
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
    let direction = if better.column > column {
        "deeper"
    } else {
        "further to the left"
    };
    let under = match better.column {
        0 => "at the top level".to_owned(),
        _ => format!("under {}", better.section.title),
    };
    let spaces = spaces(better.column.abs_diff(column));
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

/// Beginnings of values that need quotes: the text to look for, the number of its last characters that belong to the
/// value, the noun for the value, and the mistake.
const UNQUOTED: [(&str, usize, &str, &str); 11] = {
    const LIST: &str = "YAML reads a bare `[` as the begin of a list";
    const ALIAS: &str = "YAML reads a bare `*` as the name of an alias";
    const RESERVED: &str = "YAML keeps this character for itself";
    [
        (": [:", 2, "address", LIST),
        ("- [:", 2, "address", LIST),
        (", [:", 2, "address", LIST),
        ("[[:", 2, "address", LIST),
        (": *", 1, "pattern", ALIAS),
        ("- *", 1, "pattern", ALIAS),
        ("[*", 1, "pattern", ALIAS),
        (", *", 1, "pattern", ALIAS),
        (": @", 1, "value", RESERVED),
        (": `", 1, "value", RESERVED),
        (": %", 1, "value", RESERVED),
    ]
};

/// A mistake of syntax: where it is to be corrected, what it is in plain words, and the remedy. The parser
/// stops behind the mistake, often on the next line.
pub(super) fn explain_syntax(text: &str, place: Place, info: &str) -> (Place, String, String) {
    let numbered = (1..).zip(text.lines()).take(place.line);
    let is_written = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.trim().starts_with('#');
    // The line on which the parser stopped, and the one before.
    let lines = numbered.filter(is_written).collect::<Vec<_>>();
    let mut lines = lines.into_iter().rev().take(2);
    let (this, before) = (lines.next(), lines.next());
    let within_line = || [this, before].into_iter().flatten().find_map(misread);
    let unclosed = || [before, this].into_iter().flatten().find_map(open_bracket);
    let quote = || {
        let remedy = "close it with the same quote on the same line".to_owned();
        let is_quote = info.contains("quote");
        is_quote.then(|| (place, "a quote is opened here and not closed".to_owned(), remedy))
    };
    let colon = || {
        let candidates = [this, before].into_iter().flatten();
        candidates
            .filter(|_| info.contains("simple key"))
            .find_map(missing_colon)
    };
    let depth = || {
        let (number, line) = this?;
        let (column, key) = key_of(line)?;
        let remedy = where_it_belongs(text, number).or_else(|| {
            let (other_column, other) = key_of(before?.1).filter(|(other, _)| *other != column)?;
            let spaces = spaces(other_column.abs_diff(column));
            let side = if column > other_column { "right" } else { "left" };
            Some(format!(
                "`{key}` begins {spaces} to the {side} of `{other}` above; keys of one mapping begin in one column"
            ))
        })?;
        let place = Place::new(number, column + 1, key.len());
        Some((place, "the indentation does not fit".to_owned(), remedy))
    };
    let explained = within_line()
        .or_else(quote)
        .or_else(unclosed)
        .or_else(colon)
        .or_else(depth);
    explained.unwrap_or_else(|| {
        let remedy = "see examples/minimal.yaml for how a configuration is written".to_owned();
        (place, format!("not valid YAML: {info}"), remedy)
    })
}

/// Text that must stand in quotes because YAML reads its first character as something else, and a space that is missing
/// behind the colon of a key.
fn misread((number, line): (usize, &str)) -> Option<(Place, String, String)> {
    let code = line.split(" #").next().unwrap_or(line);
    for (start, own, what, message) in UNQUOTED {
        let Some((before, _)) = code.split_once(start) else {
            continue;
        };
        let at = before.len() + start.len() - own;
        let (before, value) = code.split_at_checked(at)?;
        let value = value.split([' ', ',', '}']).next().unwrap_or_default();
        let closes = value.matches(']').count() > value.matches('[').count();
        let value = if closes {
            value.trim_end_matches(']')
        } else {
            value
        };
        let place = Place::new(number, before.chars().count() + 1, value.chars().count());
        return Some((
            place,
            message.to_owned(),
            format!("put the {what} in quotes: \"{value}\""),
        ));
    }
    let bare = code.trim_start_matches([' ', '-']);
    let (key, value) = bare.split_once(':')?;
    let mut is_known = false;
    walk(&mut |_, section| is_known |= section.key(key).is_some());
    if !is_known || value.is_empty() || value.starts_with([' ', '/']) {
        return None;
    }
    let place = Place::new(number, code.len() - bare.len() + 1, key.len() + 1);
    let remedy = format!("write `{key}: {}`", value.trim());
    Some((place, "a space is missing behind the colon".to_owned(), remedy))
}

/// The last bracket of a line that is opened and not closed there.
fn open_bracket((number, line): (usize, &str)) -> Option<(Place, String, String)> {
    let mut open = Vec::new();
    let mut quote = None;
    for (column, c) in line.chars().enumerate() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None, '{') => open.push((column, c, '}')),
            (None, '[') => open.push((column, c, ']')),
            (None, '}' | ']') => match open.pop() {
                // Another bracket closes around it.
                Some(unclosed) if unclosed.2 != c => {
                    open = vec![unclosed];
                    break;
                }
                _ => {}
            },
            _ => {}
        }
    }
    let (column, bracket, close) = open.first().copied()?;
    let message = format!("a `{bracket}` is opened here and not closed");
    Some((
        Place::new(number, column + 1, 1),
        message,
        format!("close it with `{close}`"),
    ))
}

/// A line of words without a colon, where a key is expected.
fn missing_colon((number, line): (usize, &str)) -> Option<(Place, String, String)> {
    if line.contains(": ") || line.trim_end().ends_with(':') {
        return None;
    }
    let text = line.trim_start_matches([' ', '-']);
    let word = text.split(' ').next().unwrap_or_default();
    let place = Place::new(number, line.len() - text.len() + 1, word.chars().count());
    let remedy = format!("write `{}:` and its value", shorten(word));
    Some((place, "a colon is missing behind this key".to_owned(), remedy))
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
