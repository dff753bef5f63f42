//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

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
    pub const FILE: Self = Self {
        line: 0,
        column: 0,
        length: 0,
    };
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: f(self.value),
            place: self.place,
        }
    }
}

/// Whether the configuration can be used all the same.
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
    /// Where.
    pub place: Place,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do, in one line.
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
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Nothing wrong yet with `text`, read from `path`.
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            list: Vec::new(),
        }
    }

    /// Adds a mistake that makes the file unusable.
    pub fn error(&mut self, place: Place, message: impl Into<String>, remedy: Option<String>) {
        self.push(Severity::Error, place, message.into(), remedy);
    }

    /// Adds a doubt.
    pub fn warning(&mut self, place: Place, message: impl Into<String>, remedy: Option<String>) {
        self.push(Severity::Warning, place, message.into(), remedy);
    }

    fn push(&mut self, severity: Severity, place: Place, message: String, remedy: Option<String>) {
        let found = Diagnostic {
            severity,
            place,
            message,
            remedy,
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

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many warnings there are.
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

    fn write_one(&self, f: &mut fmt::Formatter<'_>, found: &Diagnostic) -> fmt::Result {
        let Diagnostic {
            severity,
            place,
            message,
            remedy,
        } = found;
        let line = place.line.checked_sub(1).and_then(|n| self.text.lines().nth(n));
        let Some(line) = line else {
            writeln!(f, "{}: {}: {message}", self.path.display(), severity.name())?;
            if let Some(remedy) = remedy {
                writeln!(f, "  = {remedy}")?;
            }
            return Ok(());
        };
        let (number, column) = (place.line.to_string(), place.column.max(1));
        writeln!(
            f,
            "{}:{number}:{column}: {}: {message}",
            self.path.display(),
            severity.name()
        )?;
        let (line, before) = window(line, column);
        let room = line.chars().count().saturating_sub(before).max(1);
        writeln!(f, "  {number} | {line}")?;
        let carets = "^".repeat(place.length.clamp(1, room));
        writeln!(
            f,
            "  {:width$} | {:before$}{carets}",
            "",
            "",
            width = number.len()
        )?;
        if let Some(remedy) = remedy {
            writeln!(f, "  {:width$} = {remedy}", "", width = number.len())?;
        }
        Ok(())
    }
}

/// A line may be as long as the file; this much of it around the column is shown, without tabs and
/// control characters. Gives the text and how many characters stand before the column.
fn window(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 80;
    const SHOWN: usize = 160;
    let skipped = (column - 1).saturating_sub(BEFORE);
    let shown = line.chars().skip(skipped).take(SHOWN);
    let clean = shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>();
    (clean.trim_end().to_owned(), column - 1 - skipped)
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|found| self.write_one(f, found))
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
