//! Facts of one file.

use crate::modules::Word;

/// Words that begin a clause: a doc comment that begins with one says something of a thing before it names the thing.
const CLAUSES: [&str; 12] = [
    "what", "whether", "when", "how", "as", "who", "whom", "whose", "where", "why", "which", "that",
];

/// The first word of a comment begins a clause.
pub(crate) fn is_clause(comment: &str) -> bool {
    let first = comment.split(|c: char| !c.is_ascii_alphabetic()).next();
    first.is_some_and(|first| CLAUSES.contains(&first.to_ascii_lowercase().as_str()))
}

/// How many doc comments a file has, and how many of them begin with a clause.
pub(crate) fn docs(text: &str) -> (usize, usize) {
    let (mut docs, mut clauses, mut goes_on) = (0, 0, false);
    for line in text.lines().map(str::trim_start) {
        let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        if let Some(comment) = comment.filter(|_| !goes_on) {
            docs += 1;
            clauses += usize::from(is_clause(comment.trim_start()));
        }
        goes_on = comment.is_some();
    }
    (docs, clauses)
}

/// Lines with a comment alone, up to the line of this number, from 1.
pub(crate) fn comments(text: &str, last: usize) -> usize {
    let lines = text.lines().take(last).map(str::trim_start);
    lines.filter(|line| line.starts_with("//")).count()
}

/// The names of types and traits that a file declares. Associated types, which stand in an `impl` or a trait, are none.
pub(crate) fn types(words: &[Word]) -> Vec<String> {
    let mut found = Vec::new();
    // For each open brace: it is that of an `impl` or a trait.
    let mut open: Vec<bool> = Vec::new();
    let mut is_impl = false;
    let mut before = "";
    for two in words.windows(2) {
        let [(word, _), (next, _)] = two else { continue };
        let begins_item = matches!(before, "" | "{" | "}" | ";" | "]" | "unsafe");
        before = word;
        match word.as_str() {
            "{" => {
                open.push(is_impl);
                is_impl = false;
            }
            "}" => drop(open.pop()),
            ";" => is_impl = false,
            // Else it is a type: `impl Trait`.
            "impl" => is_impl |= begins_item,
            "struct" | "enum" | "trait" | "type" if next.starts_with(char::is_uppercase) => {
                if word != "type" || open.last() != Some(&true) {
                    found.push(next.clone());
                }
                is_impl |= word == "trait";
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_is_seen_by_its_first_word() {
        let clauses = ["What is kept.", "Whether it is so", "how: so", "As [`Self`]"];
        assert!(clauses.into_iter().all(is_clause));
        assert!(
            !["The whole", "Whatever comes", "Assembles it", "`What`", ""]
                .into_iter()
                .any(is_clause)
        );
        let text =
            "//! What.\n//! How.\n\nfn a() {}\n    /// Its name.\n    /// What else.\n// What.\n/// As.\n";
        assert_eq!(docs(text), (3, 2));
        assert_eq!(comments(text, 7), 5);
    }

    #[test]
    fn types_are_counted_and_associated_ones_are_not() {
        let words = crate::modules::words(
            "pub struct A<T>(T); enum B { C { x: u8 } } impl Iterator for A { type Item = u8; fn f() { struct D; } }\n\
             trait E { type F; } type G = A; fn impls(_: impl E) { type H = u8; } // struct I;\n\
             const T: &str = \"struct J;\";",
        );
        assert_eq!(types(&words), ["A", "B", "D", "E", "G", "H"]);
    }
}
