//! Names that things in the file have, and references to them.

use super::diagnostic::{Diagnostics, Spanned};
use super::unknown::closest;

/// The names of one list, in its order.
#[derive(Debug)]
pub(super) struct Names {
    /// "certificate"
    what: &'static str,
    /// "certificates"
    list: &'static str,
    /// In the order of the list; `None` where the name could not be read.
    names: Vec<Option<Spanned<String>>>,
}

impl Names {
    /// Collects names and reports those that are given twice.
    pub(super) fn new<'a>(
        what: &'static str,
        list: &'static str,
        names: impl Iterator<Item = Option<&'a Spanned<String>>>,
        found: &mut Diagnostics,
    ) -> Self {
        let mut this = Self {
            what,
            list,
            names: Vec::new(),
        };
        for name in names {
            if let Some(name) = name
                && let Some(first) = this
                    .names
                    .iter()
                    .flatten()
                    .find(|first| first.value == name.value)
            {
                let message = format!("{what} name `{}` is given twice", name.value);
                let remedy = format!(
                    "the first is in line {}; names in `{list}` must differ",
                    first.place.line
                );
                found.error(name.place, message, Some(remedy));
            }
            this.names.push(name.cloned());
        }
        this
    }

    /// Where in the list the thing is that `reference` names; reports it if there is none.
    pub(super) fn position(&self, reference: &Spanned<String>, found: &mut Diagnostics) -> Option<usize> {
        let names = self
            .names
            .iter()
            .enumerate()
            .filter_map(|(n, name)| Some((n, name.as_ref()?.value.as_str())));
        let position = names
            .clone()
            .find(|(_, name)| *name == reference.value)
            .map(|(n, _)| n);
        if position.is_none() {
            let known = names
                .clone()
                .map(|(_, name)| format!("`{name}`"))
                .collect::<Vec<_>>();
            let remedy = match closest(&reference.value, names.map(|(_, name)| name)) {
                Some(name) => format!("did you mean `{name}`?"),
                None if known.is_empty() => {
                    format!("add an entry with `name: {}` to `{}`", reference.value, self.list)
                }
                None => format!("`{}` has {}", self.list, known.join(", ")),
            };
            found.error(
                reference.place,
                format!("there is no {} `{}`", self.what, reference.value),
                Some(remedy),
            );
        }
        position
    }
}
