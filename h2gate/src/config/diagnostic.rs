//! Errors and warnings about a file, each with its place and its remedy.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use certstore::is_shown;
use serde_json::{Value, json};

/// A stretch of one line. Lines and columns begin at 1 and count characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line; 0 is the file as a whole.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Characters; at least 1 are shown.
    pub length: usize,
}

impl Place {
    /// The file as a whole: it could not be read, or something is missing from all of it.
    pub const FILE: Self = Self::new(0, 0, 0);

    /// A stretch of so many characters.
    pub const fn new(line: usize, column: usize, length: usize) -> Self {
        Self { line, column, length }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The place where it was written.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// A value that was written there.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned::new(f(self.value), self.place)
    }
}

impl<T> Spanned<Option<T>> {
    /// The value with its place, if there is one.
    pub fn transpose(self) -> Option<Spanned<T>> {
        Some(Spanned::new(self.value?, self.place))
    }
}

/// The remedy of a mistake, in one line. `None`: the message is enough.
pub trait Remedy {
    /// The text.
    fn text(self) -> Option<String>;
}

impl Remedy for &str {
    fn text(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl Remedy for String {
    fn text(self) -> Option<String> {
        Some(self)
    }
}

impl Remedy for Option<String> {
    fn text(self) -> Option<String> {
        self
    }
}

/// The weight of a diagnostic: with an error, the configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it is probably not what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The place.
    pub place: Place,
    /// The problem, in one line.
    pub message: String,
    /// The remedy, in one line.
    pub remedy: Option<String>,
}

/// All mistakes of one file, with its text, so that lines can be shown.
///
/// Displaying it gives the text that `check` prints: for each mistake `file:line:column`, what is wrong,
/// the line with the stretch underlined, and a remedy.
#[derive(Clone)]
pub struct Diagnostics {
    path: Arc<Path>,
    text: Arc<str>,
    lines: usize,
    list: Vec<Diagnostic>,
    /// There were more than are kept.
    omitted: bool,
    /// Lines that are never shown.
    concealed: BTreeSet<usize>,
    /// The content of PEM sections of the text, which is shown in no message.
    pasted: Vec<String>,
}

/// Keys beside which people write secrets, also where the text cannot be read as YAML at all.
const SECRET_KEYS: [&str; 2] = ["hmac_key", "passphrase"];

/// A shorter run of letters of base64 gives nothing of a key away.
const MIN_PASTED: usize = 8;

/// More errors, or warnings, than anybody reads; the work for each is not free.
const MAX_KEPT: usize = 200;

impl Diagnostics {
    /// Nothing wrong yet with `text`, read from `path`.
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            lines: text.lines().count(),
            list: Vec::new(),
            omitted: false,
            concealed: BTreeSet::new(),
            pasted: pasted(text),
        }
    }

    /// Says if no further error will be kept.
    pub(super) fn is_full(&self) -> bool {
        self.errors() >= MAX_KEPT
    }

    /// Removes the diagnostics of a line, in favour of a better one.
    pub(super) fn remove_line(&mut self, line: usize) {
        self.list.retain(|found| found.place.line != line);
    }

    /// Hides this line: it may hold a secret.
    pub(super) fn conceal(&mut self, line: usize) {
        self.concealed.insert(line);
    }

    /// Adds a mistake that makes the file unusable.
    pub fn error(&mut self, place: Place, message: impl Into<String>, remedy: impl Remedy) {
        self.push(Severity::Error, place, message.into(), remedy.text());
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: Place, message: impl Into<String>, remedy: impl Remedy) {
        self.push(Severity::Warning, place, message.into(), remedy.text());
    }

    fn push(&mut self, severity: Severity, place: Place, message: String, remedy: Option<String>) {
        // Counted apart, so that no number of warnings hides an error.
        if self.iter().filter(|d| d.severity == severity).count() >= MAX_KEPT {
            self.omitted = true;
            return;
        }
        // The parser sees the end of the text one line behind the last.
        let place = match place.line {
            line if line > self.lines => Place::new(self.lines, 1, 1),
            _ => place,
        };
        let found = Diagnostic {
            severity,
            place,
            message: self.without_pasted(message),
            remedy: remedy.map(|remedy| self.without_pasted(remedy)),
        };
        // An alias (`*name`) decodes the same text once more; the mistake in it is still one.
        if !self.list.contains(&found) {
            self.list.push(found);
            self.list.sort_by_key(|d| (d.place.line, d.place.column));
        }
    }

    /// The mistakes in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For programs: a list of objects.
    pub fn json(&self) -> Value {
        self.iter()
            .map(|d| {
                json!({
                    "file": self.path.display().to_string(),
                    "line": d.place.line,
                    "column": d.place.column,
                    "severity": d.severity.name(),
                    "message": d.message,
                    "remedy": d.remedy,
                })
            })
            .collect()
    }

    /// `2 errors, 1 warning`.
    pub fn count(&self) -> String {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (errors, 0) => plural(errors, "error"),
            (0, warnings) => plural(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        }
    }

    /// The text with `…` in the place of what was pasted.
    fn without_pasted(&self, text: String) -> String {
        if self.pasted.is_empty() {
            return text;
        }
        let is_pasted =
            |run: &str| run.len() >= MIN_PASTED && self.pasted.iter().any(|one| one.contains(run));
        let mut shown = String::with_capacity(text.len());
        for piece in text.split_inclusive(|c| !is_base64(c)) {
            let run = piece.trim_end_matches(|c| !is_base64(c));
            shown.push_str(if is_pasted(run) { "…" } else { run });
            shown.extend(piece.chars().skip(run.chars().count()));
        }
        shown
    }

    /// Keys belong into files of their own; one that was pasted here must not get into a log all the same.
    fn may_be_secret(&self, number: usize, line: &str, shown: &str) -> bool {
        self.concealed.contains(&number)
            || SECRET_KEYS.iter().any(|key| line.contains(key))
            || line.contains("-----BEGIN")
            || runs(shown).any(|run| self.pasted.iter().any(|one| one.contains(run)))
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, found: &Diagnostic) -> fmt::Result {
        let Diagnostic {
            severity,
            place,
            message,
            remedy,
        } = found;
        let (path, severity) = (self.path.display(), severity.name());
        let line = place.line.checked_sub(1).and_then(|n| self.text.lines().nth(n));
        let Some(line) = line else {
            writeln!(f, "{path}: {severity}: {message}")?;
            return remedy.iter().try_for_each(|remedy| writeln!(f, "  = {remedy}"));
        };
        let (number, column) = (place.line.to_string(), place.column.max(1));
        let (shown, before) = window(line, column);
        let width = number.len();
        writeln!(f, "{path}:{number}:{column}: {severity}: {message}")?;
        if self.may_be_secret(place.line, line, &shown) {
            writeln!(f, "  {number} | (not shown: it may hold a secret)")?;
        } else {
            let room = shown.chars().count().saturating_sub(before).max(1);
            let carets = "^".repeat(place.length.clamp(1, room));
            writeln!(f, "  {number} | {shown}")?;
            writeln!(f, "  {:width$} | {:before$}{carets}", "", "")?;
        }
        remedy
            .iter()
            .try_for_each(|remedy| writeln!(f, "  {:width$} = {remedy}", ""))
    }
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

/// Runs of letters of base64.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_base64(c))
        .filter(|run| run.len() >= MIN_PASTED)
}

/// The content of PEM sections, and of the rest of broken ones: as far as there are letters of base64, blanks and line
/// breaks, also those in letters.
fn pasted(text: &str) -> Vec<String> {
    let mut pasted = Vec::new();
    for section in text.split("-----BEGIN").skip(1) {
        let (_, rest) = section.split_once("-----").unwrap_or(("", section));
        let is_body = |c: char| is_base64(c) || c.is_ascii_whitespace() || c == '\\';
        let body = rest.split(|c| !is_body(c)).next().unwrap_or_default();
        // The next key of the mapping, where the section does not end.
        let body = match rest.get(body.len()..) {
            Some(after) if after.starts_with([':', '_']) => body.trim_end_matches(is_base64),
            _ => body,
        };
        pasted.extend(runs(body).map(str::to_owned));
    }
    pasted
}

/// A line may be as long as the file; this much of it around the column is shown, without tabs and
/// control characters. Gives the text and how many characters stand before the column.
fn window(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 80;
    const SHOWN: usize = 160;
    let skipped = (column - 1).saturating_sub(BEFORE);
    let shown = line.chars().skip(skipped).take(SHOWN);
    let clean = shown
        .map(|c| if is_shown(c) { c } else { ' ' })
        .collect::<String>();
    (clean.trim_end().to_owned(), column - 1 - skipped)
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|found| self.write_one(f, found))?;
        if self.omitted {
            writeln!(f, "{}: there are more mistakes than these", self.path.display())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("path", &self.path)
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_key_is_not_shown() {
        let body = "MHcCAQEEIODvYmEtcsa4RHv5dmmmfXtyYW5kb21zdHVmZg==";
        let text =
            format!("key: |\n  -----BEGIN EC PRIVATE KEY-----\n  {body}\nother: \"-----BEGIN {body}\"\n");
        let mut found = Diagnostics::new(Path::new("x.yaml"), &text);
        for line in 1..=4 {
            found.error(Place::new(line, 1, 3), "wrong", "correct it");
        }
        let printed = found.to_string();
        assert!(!printed.contains("MHcC"), "{printed}");
        assert!(
            printed.contains("  1 | key: |") && printed.contains("  3 | (not shown"),
            "{printed}"
        );
        assert!(!format!("{found:?}").contains("MHcC"));
    }

    #[test]
    fn a_long_line_is_cut_around_its_mistake() {
        let text = format!("{}WRONG{}", "a".repeat(500), "b".repeat(500));
        let mut found = Diagnostics::new(Path::new("x.yaml"), &text);
        found.error(Place::new(1, 501, 5), "wrong", None);
        let printed = found.to_string();
        let lines = printed.lines().collect::<Vec<_>>();
        assert!(lines.iter().all(|line| line.len() < 200), "{printed}");
        assert_eq!(lines[1].find("WRONG"), lines[2].find("^^^^^"), "{printed}");
    }

    #[test]
    fn no_number_of_warnings_hides_an_error() {
        let mut found = Diagnostics::new(Path::new("x.yaml"), "a\n");
        for n in 0..1_000 {
            found.warning(Place::FILE, format!("warning {n}"), None);
        }
        found.error(Place::FILE, "wrong", None);
        assert_eq!((found.warnings(), found.errors()), (MAX_KEPT, 1));
        assert!(found.to_string().contains("there are more mistakes"));
    }
}
