//! Edges between the top-level modules of a crate, read from its sources: `use` trees, and paths in code that begin with
//! `crate`, `self` or `super`. Tests do not count: items under `#[cfg(test)]`, files `tests.rs` and those under `tests`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crate's root file, which shows what the modules have. It stands above all of them.
pub const FACADE: &str = "lib";

/// A place at which one top-level module names another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The module that names.
    pub from: String,
    /// The module that is named, or [`FACADE`].
    pub to: String,
    /// The file, relative to the folder that was searched.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// The modules that the root file in `src` declares, and the edges between them, in order.
pub fn read(src: &Path) -> std::io::Result<(BTreeSet<String>, Vec<Edge>)> {
    let root = words(&std::fs::read_to_string(src.join("lib.rs"))?);
    let modules: BTreeSet<String> = declared(&without_tests(&root)).collect();

    let mut edges = Vec::new();
    let product = files(src)?.into_iter().filter(|(_, is_test)| !is_test);
    for (file, _) in product {
        let place = place(&file);
        let Some(from) = place.first().filter(|first| modules.contains(*first)) else {
            continue;
        };
        let text = without_tests(&words(&std::fs::read_to_string(src.join(&file))?));
        for (path, line) in paths(&text, &place) {
            let to = path.first().map_or(FACADE, String::as_str);
            let to = if modules.contains(to) { to } else { FACADE };
            if to != from {
                edges.push(Edge {
                    from: from.clone(),
                    to: to.to_owned(),
                    file: file.clone(),
                    line,
                });
            }
        }
    }
    edges.sort();
    edges.dedup();
    Ok((modules, edges))
}

/// The sets of modules each of which reaches all others of its set: one set for each circle, and for circles that touch.
pub fn circles(edges: &[Edge]) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.to != FACADE) {
        next.entry(&edge.from).or_default().insert(&edge.to);
    }
    let reached = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(module) = open.pop() {
            for &to in next.get(module.as_str()).into_iter().flatten() {
                if seen.insert(to.to_owned()) {
                    open.push(to.to_owned());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|&from| (from, reached(from))).collect();
    let mutual = |a: &str, b: &str| {
        let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|all| all.contains(to));
        reaches(a, b) && reaches(b, a)
    };
    let sets: BTreeSet<BTreeSet<String>> = reach
        .keys()
        .map(|a| {
            let with_a = reach.keys().filter(|b| mutual(a, b));
            with_a.map(|b| (*b).to_owned()).collect()
        })
        .collect();
    sets.into_iter().filter(|set| !set.is_empty()).collect()
}

/// The Rust files below `src`, relative to it and in order, and whether they are those of tests.
pub(crate) fn files(src: &Path) -> std::io::Result<Vec<(PathBuf, bool)>> {
    let (mut files, mut open) = (Vec::new(), vec![src.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && let Ok(file) = path.strip_prefix(src)
            {
                let is_test = file.with_extension("").iter().any(|part| part == "tests");
                files.push((file.to_owned(), is_test));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `[a, b]`.
fn place(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let parts = file.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

/// A name, `::` or one other sign of a source, with its line.
pub(crate) type Word = (String, usize);

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The words of a source, without comments, and without what stands in strings and characters.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let text: Vec<char> = text.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let (mut words, mut line, mut index) = (Vec::new(), 1, 0);
    while index < text.len() {
        let begin = index;
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < text.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                let mut depth = 0;
                while index < text.len() {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (depth, index) = (depth + 1, index + 2),
                        ('*', '/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => {
                index += 1;
                while index < text.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
            }
            // A character, not a lifetime.
            '\'' if at(index + 1) == '\\' || at(index + 2) == '\'' => {
                index += if at(index + 1) == '\\' { 3 } else { 2 };
                while index < text.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            ':' if at(index + 1) == ':' => {
                words.push(("::".to_owned(), line));
                index += 2;
            }
            character if is_name(character) => {
                while is_name(at(index)) {
                    index += 1;
                }
                let name: String = text.iter().take(index).skip(begin).collect();
                if matches!(name.as_str(), "r" | "br" | "cr") && matches!(at(index), '"' | '#') {
                    index = end_of_raw(&text, index);
                } else {
                    words.push((name, line));
                }
            }
            character => {
                if !character.is_whitespace() {
                    words.push((character.to_string(), line));
                }
                index += 1;
            }
        }
        let passed = text.iter().take(index).skip(begin);
        line += passed.filter(|character| **character == '\n').count();
    }
    words
}

/// The index after a raw string whose `#` or `"` is at `index`; or that index, if it is a raw name (`r#type`).
fn end_of_raw(text: &[char], index: usize) -> usize {
    let hashes = text.iter().skip(index).take_while(|c| **c == '#').count();
    if text.get(index + hashes) != Some(&'"') {
        return index + hashes;
    }
    let ends = |end: &usize| {
        let tail = text.iter().skip(end + 1).take(hashes);
        text.get(*end) == Some(&'"') && tail.filter(|c| **c == '#').count() == hashes
    };
    let end = (index + hashes + 1..text.len()).find(ends);
    end.map_or(text.len(), |end| end + 1 + hashes)
}

/// The words without the items, statements and fields that `#[cfg(test)]` stands before.
pub(crate) fn without_tests(words: &[Word]) -> Vec<Word> {
    let is = |index: usize, word: &str| words.get(index).is_some_and(|(it, _)| it == word);
    let (mut kept, mut index) = (Vec::new(), 0);
    while let Some(word) = words.get(index) {
        let marks = ["#", "[", "cfg", "(", "test", ")", "]"];
        if !marks
            .iter()
            .enumerate()
            .all(|(offset, mark)| is(index + offset, mark))
        {
            kept.push(word.clone());
            index += 1;
            continue;
        }
        index += marks.len();
        // Further attributes of the same item.
        while is(index, "#") {
            index = end_of_group(words, index + 1);
        }
        let mut depth = 0;
        while let Some((word, _)) = words.get(index) {
            match word.as_str() {
                "}" if depth == 0 => break,
                "(" | "[" | "{" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        index += 1;
                        break;
                    }
                }
                ";" | "," if depth == 0 => {
                    index += 1;
                    break;
                }
                _ => {}
            }
            index += 1;
        }
    }
    kept
}

/// The index after the group whose bracket is at `index`.
fn end_of_group(words: &[Word], index: usize) -> usize {
    let mut depth = 0;
    for (offset, (word, _)) in words.iter().enumerate().skip(index) {
        match word.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    words.len()
}

/// Names of modules that words declare as files of their own.
fn declared(words: &[Word]) -> impl Iterator<Item = String> + '_ {
    words.windows(3).filter_map(|three| match three {
        [(keyword, _), (name, _), (end, _)] if keyword == "mod" && end == ";" => Some(name.clone()),
        _ => None,
    })
}

/// The absolute paths that words name inside their crate, with their lines. `place` is the module of their file.
fn paths(words: &[Word], place: &[String]) -> Vec<(Vec<String>, usize)> {
    let word = |index: usize| words.get(index).map_or("", |(word, _)| word.as_str());
    let (mut found, mut depth) = (Vec::new(), 0);
    // Modules in the file's own text, with the depth of their braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    for index in 0..words.len() {
        let before = if index == 0 { "" } else { word(index - 1) };
        match word(index) {
            "{" => {
                depth += 1;
                if index >= 2 && word(index - 2) == "mod" {
                    inline.push((before.to_owned(), depth));
                }
            }
            "}" => {
                inline.retain(|(_, its)| *its < depth);
                depth = depth.saturating_sub(1);
            }
            "crate" | "self" | "super" if before != "::" && before != "in" && word(index + 1) == "::" => {
                let here = place.iter().chain(inline.iter().map(|(name, _)| name));
                let here: Vec<String> = here.cloned().collect();
                tree(words, index, &here, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows a path or a `use` tree that begins at `index` under `prefix`; the index after it.
fn tree(words: &[Word], mut index: usize, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let word = |index: usize| words.get(index).map_or("", |(word, _)| word.as_str());
    let mut path = prefix.to_vec();
    let line = words.get(index).map_or(0, |(_, line)| *line);
    loop {
        match word(index) {
            "crate" => path.clear(),
            "self" => {}
            "super" => drop(path.pop()),
            "{" => {
                index += 1;
                while !matches!(word(index), "}" | "") {
                    index = tree(words, index, &path, found);
                    while !matches!(word(index), "," | "}" | "") {
                        index += 1; // `as` and its name
                    }
                    if word(index) == "," {
                        index += 1;
                    }
                }
                return index + 1;
            }
            name if name.starts_with(is_name) || name == "*" => path.push(name.to_owned()),
            // `path::<T>`
            _ => break,
        }
        index += 1;
        if word(index) != "::" {
            break;
        }
        index += 1;
    }
    found.push((path, line));
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that a text names, as the file `a/b.rs` of a crate.
    fn named(text: &str) -> Vec<String> {
        let text = without_tests(&words(text));
        let place = place(Path::new("a/b.rs"));
        let paths = paths(&text, &place).into_iter();
        paths
            .map(|(path, line)| format!("{}:{line}", path.join("::")))
            .collect()
    }

    #[test]
    fn use_trees_and_paths_in_code_are_found_with_their_lines() {
        let text =
            "use crate::{\n    x::{Y, z},\n    w as v,\n};\nfn f(p: crate::q::P) { super::g::h::<T>() }";
        let expected = ["x::Y:2", "x::z:2", "w:3", "q::P:5", "a::g::h:5"];
        assert_eq!(named(text), expected);
    }

    #[test]
    fn super_is_resolved_by_the_place_of_the_file_and_by_inline_modules() {
        let text = "use super::super::c;\nmod d { mod e { use super::super::super::f; } use super::g; }\nuse self::h;";
        assert_eq!(named(text), ["c:1", "a::f:2", "a::b::g:2", "a::b::h:3"]);
    }

    #[test]
    fn comments_strings_visibilities_and_tests_name_nothing() {
        let text = "// crate::a\n/* crate::b /* */ crate::c */ \"crate::d\" r#\"\" crate::e\"# '\"' b'\\''\n\
                    pub(in super::super) fn f<'a>() {}\npub(crate) struct G;\n\
                    #[cfg(test)]\n#[path = \"x.rs\"]\nmod h { use crate::h; }\n\
                    #[cfg(test)]\nuse crate::i;\nuse crate::j;";
        assert_eq!(named(text), ["j:10"]);
    }

    #[test]
    fn only_modules_that_reach_each_other_are_a_circle() {
        let edge = |from: &str, to: &str| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            file: PathBuf::new(),
            line: 1,
        };
        let edges = [
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("d", "a"),
            ("c", "e"),
            ("e", FACADE),
        ];
        let edges = edges.map(|(from, to)| edge(from, to));
        let circle = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(circles(&edges), [BTreeSet::from(circle)]);
    }
}
