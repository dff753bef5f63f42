//! Names that things in the file have, and references to them.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::unknown::closest_or;
use super::values::listed;

/// The names of one list.
#[derive(Debug)]
pub(super) struct Names {
    /// "certificate"
    what: &'static str,
    /// "certificates"
    list: &'static str,
    /// Position in the list, and where the name is written. A name that could not be read has none.
    names: BTreeMap<String, (usize, Place)>,
    /// The key of the list is misspelled, which is reported: references to what it lacks are no mistakes of their own.
    pub(super) misspelled: bool,
}

impl Names {
    /// Collects the names of the list `list` of the file, and reports those that are given twice.
    pub(super) fn new<'a>(
        what: &'static str,
        list: &'static str,
        names: impl Iterator<Item = Option<&'a Spanned<String>>>,
        file: &Fields<'_>,
    ) -> Self {
        let mut known: BTreeMap<String, (usize, Place)> = BTreeMap::new();
        for (position, name) in names.enumerate() {
            let Some(name) = name else { continue };
            if let Some((_, first)) = known.get(&name.value) {
                let message = format!("{what} name `{}` is given twice", name.value);
                let line = first.line;
                let remedy = format!("the first is in line {line}; names in `{list}` must differ");
                file.error(name.place, message, remedy);
            } else {
                known.insert(name.value.clone(), (position, name.place));
            }
        }
        Self {
            what,
            list,
            names: known,
            misspelled: file.misspelled(list),
        }
    }

    /// The position in the list of the thing that `reference` names; reports it if there is none.
    pub(super) fn position(&self, reference: &Spanned<String>, found: &mut Diagnostics) -> Option<usize> {
        let position = self.names.get(&reference.value).map(|(position, _)| *position);
        if position.is_none() && !self.misspelled && !found.is_full() {
            let message = format!("there is no {} `{}`", self.what, reference.value);
            found.error(reference.place, message, self.instead(&reference.value));
        }
        position
    }

    fn instead(&self, name: &str) -> String {
        const SHOWN: usize = 8;
        let names = self.names.keys().map(String::as_str).collect::<Vec<_>>();
        closest_or(name, &names, || match names.get(..SHOWN) {
            _ if names.is_empty() => format!("add an entry with `name: {name}` to `{}`", self.list),
            Some(first) if names.len() > SHOWN => format!("`{}` has {} and others", self.list, listed(first)),
            _ => format!("`{}` has {}", self.list, listed(&names)),
        })
    }
}
