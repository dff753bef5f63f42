//! Names that things in the file have, and references to them.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::unknown::closest;

/// The names of one list.
#[derive(Debug)]
pub(super) struct Names {
    /// "certificate"
    what: &'static str,
    /// "certificates"
    list: &'static str,
    /// Position in the list, and where the name is written. A name that could not be read has none.
    names: BTreeMap<String, (usize, Place)>,
    /// The list is not what was meant: what it lacks is no mistake of its own.
    misspelled: bool,
}

impl Names {
    /// Collects names and reports those that are given twice.
    pub(super) fn new<'a>(
        what: &'static str,
        list: &'static str,
        names: impl Iterator<Item = Option<&'a Spanned<String>>>,
        found: &mut Diagnostics,
    ) -> Self {
        let mut known = BTreeMap::new();
        for (position, name) in names.enumerate() {
            let Some(name) = name else { continue };
            if let Some((_, first)) = known.get(&name.value) {
                let first: &Place = first;
                let message = format!("{what} name `{}` is given twice", name.value);
                let remedy = format!(
                    "the first is in line {}; names in `{list}` must differ",
                    first.line
                );
                found.error(name.place, message, Some(remedy));
            } else {
                known.insert(name.value.clone(), (position, name.place));
            }
        }
        Self {
            what,
            list,
            names: known,
            misspelled: false,
        }
    }

    /// Marks the list itself as reported for a misspelled key; references to it are then not reported.
    pub(super) fn misspelled(self, misspelled: bool) -> Self {
        Self { misspelled, ..self }
    }

    /// The position in the list of the thing that `reference` names; reports it if there is none.
    pub(super) fn position(&self, reference: &Spanned<String>, found: &mut Diagnostics) -> Option<usize> {
        let position = self.names.get(&reference.value).map(|(position, _)| *position);
        if position.is_none() && !self.misspelled && !found.is_full() {
            let message = format!("there is no {} `{}`", self.what, reference.value);
            found.error(reference.place, message, Some(self.instead(&reference.value)));
        }
        position
    }

    fn instead(&self, name: &str) -> String {
        const SHOWN: usize = 8;
        if let Some(near) = closest(name, self.names.keys().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        if self.names.is_empty() {
            return format!("add an entry with `name: {name}` to `{}`", self.list);
        }
        let mut shown = self
            .names
            .keys()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        if self.names.len() > SHOWN {
            shown.push_str(" and others");
        }
        format!("`{}` has {shown}", self.list)
    }
}
