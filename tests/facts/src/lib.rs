//! Facts that can be counted in the sources of a crate: lines of code, names of types, first words of doc comments, and
//! circles of modules. The standard library is enough, so the program compiles in a second.

pub mod modules;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The facts of one crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Lines that have code, without those of tests.
    pub code: usize,
    /// Lines that have nothing but a comment, without those of tests.
    pub comments: usize,
    /// Doc comments, those of tests among them.
    pub docs: usize,
    /// Doc comments that begin with a clause instead of a noun: what, whether, how, as, who, where, …
    pub clauses: usize,
    /// Names that several types have, with how many; types of tests count, associated types do not.
    pub shared_names: BTreeMap<String, usize>,
    /// Top-level modules that use each other in a circle.
    pub circles: Vec<BTreeSet<String>>,
}

impl Facts {
    /// Counts in the files below `src`, the crate's folder of sources.
    ///
    /// # Errors
    /// A file or folder that cannot be read, or no `lib.rs` in `src`.
    pub fn of(src: &Path) -> std::io::Result<Self> {
        let mut facts = Self::default();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (file, is_test) in modules::files(src)? {
            let text = std::fs::read_to_string(src.join(file))?;
            let words = modules::words(&text);
            for name in text::types(&words) {
                *names.entry(name).or_default() += 1;
            }
            let (docs, clauses) = text::docs(&text);
            facts.docs += docs;
            facts.clauses += clauses;
            if !is_test {
                let product = modules::without_tests(&words);
                let lines: BTreeSet<usize> = product.iter().map(|(_, line)| *line).collect();
                facts.code += lines.len();
                facts.comments += text::comments(&text, lines.last().copied().unwrap_or(0));
            }
        }
        facts.shared_names = names.into_iter().filter(|(_, count)| *count > 1).collect();
        let (_, edges) = modules::read(src)?;
        facts.circles = modules::circles(&edges);
        Ok(facts)
    }
}
