//! Reading the keys of one mapping by its table. Every mistake is reported and reading goes on, so that
//! one look finds them all.

use std::time::Duration;

use super::bounds::Amount;
use super::diagnostic::{Diagnostics, Place, Spanned};
use super::keys::{Fallback, Key, Section, Shape, Wait};
use super::tree::{Entry, Node, Value};
use super::unknown;
use super::values::{self, Wrong};

/// One mapping of the file, known to be one; unknown and missing keys are reported already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    section: &'static Section,
    entries: &'a [Entry],
    /// The place where the mapping begins.
    pub(super) place: Place,
}

impl<'a> Fields<'a> {
    /// Opens the mapping that stands behind `key`, or the whole file.
    pub(super) fn open(
        node: &'a Node,
        section: &'static Section,
        key: Option<&str>,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            match key {
                Some(key) => report_kind(node, key, Shape::Map(section), found),
                None => {
                    let message = format!("the file must hold keys and values; this is {}", node.kind());
                    let remedy = "see examples/minimal.yaml for the smallest configuration that serves";
                    found.error(node.place, message, Some(remedy.to_owned()));
                }
            }
            return None;
        };
        // A block mapping begins at its first key: underline that, not a brace.
        let place = entries
            .first()
            .filter(|e| e.key.place >= node.place)
            .map_or(node.place, |e| e.key.place);
        let place = if key.is_none() && section.title == super::keys::TOP.title {
            Place::FILE
        } else {
            place
        };
        let fields = Self {
            section,
            entries,
            place,
        };
        for entry in entries
            .iter()
            .filter(|entry| section.key(&entry.key.value).is_none())
        {
            unknown::report(section, entry, found);
        }
        for key in section
            .keys
            .iter()
            .filter(|key| matches!(key.fallback, Fallback::Required))
        {
            if fields.entry(key.name).is_none() && !unknown::stands_for(entries, section, key.name) {
                fields.report_missing(key, found);
            }
        }
        fields.report_exclusive(found);
        Some(fields)
    }

    /// Reports keys that exclude each other, and the absence of all of them.
    fn report_exclusive(&self, found: &mut Diagnostics) {
        let Some(one_of) = &self.section.one_of else {
            return;
        };
        let given = self
            .entries
            .iter()
            .filter(|entry| one_of.keys.contains(&entry.key.value.as_str()))
            .collect::<Vec<_>>();
        let words = one_of
            .keys
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ");
        match given.as_slice() {
            [] if one_of.required => {
                let meant = |key: &&str| unknown::stands_for(self.entries, self.section, key);
                if !one_of.keys.iter().any(meant) {
                    let message = format!("{} lacks {}", self.whose(), one_of.what);
                    found.error(self.place, message, Some(format!("add one of {words}")));
                }
            }
            [first, second, ..] => {
                let message = format!(
                    "{} has `{}` and `{}`",
                    self.whose(),
                    first.key.value,
                    second.key.value
                );
                let remedy = format!("keep one of {words}");
                found.error(second.key.place, message, Some(remedy));
            }
            _ => {}
        }
    }

    /// Says if the key is written, with any value.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.entry(name).is_some()
    }

    fn entry(&self, name: &str) -> Option<&'a Entry> {
        debug_assert!(
            self.section.key(name).is_some(),
            "`{name}` is not in the table of {}",
            self.section.title
        );
        self.entries.iter().find(|entry| entry.key.value == name)
    }

    /// Says if an unknown key was probably meant to be `name`, which is absent.
    pub(super) fn misspelled(&self, name: &'static str) -> bool {
        self.entry(name).is_none() && unknown::stands_for(self.entries, self.section, name)
    }

    /// For messages: "certificate `api`", or what the section is.
    fn whose(&self) -> String {
        match self
            .entries
            .iter()
            .find(|entry| entry.key.value == "name")
            .map(|entry| &entry.value.value)
        {
            Some(Value::Text(name)) => format!(
                "{} `{}`",
                self.section.title.trim_start_matches("a "),
                values::shorten(name)
            ),
            _ => self.section.title.to_owned(),
        }
    }

    fn report_missing(&self, key: &Key, found: &mut Diagnostics) {
        let remedy = format!("add `{}` ({})", key.name, in_brackets(key.about));
        let message = format!("{} lacks `{}`", self.whose(), key.name);
        found.error(self.place, message, Some(remedy));
    }

    /// The place where `name` stands, or the whole mapping.
    pub(super) fn place_of(&self, name: &str) -> Place {
        self.entry(name).map_or(self.place, |entry| entry.key.place)
    }

    /// The mapping behind `name`.
    pub(super) fn map(&self, name: &'static str, found: &mut Diagnostics) -> Option<Self> {
        let entry = self.entry(name)?;
        let section = self.section.key(name)?.shape.section()?;
        Self::open(&entry.value, section, Some(name), found)
    }

    /// The list of mappings behind `name`. One that cannot be read is reported and left out.
    pub(super) fn maps(&self, name: &'static str, found: &mut Diagnostics) -> Vec<Self> {
        let section = self.section.key(name).and_then(|key| key.shape.section());
        let (Some(entry), Some(section)) = (self.entry(name), section) else {
            return Vec::new();
        };
        let items = self.items(entry, found);
        items
            .iter()
            .filter_map(|item| Self::open(item, section, Some(name), found))
            .collect()
    }

    fn items(&self, entry: &'a Entry, found: &mut Diagnostics) -> &'a [Node] {
        let Some(key) = self.section.key(&entry.key.value) else {
            return &[];
        };
        match &entry.value.value {
            Value::List(items) if items.is_empty() && key.fallback.is_required() => {
                let remedy = Some(first_sentence(key.about).to_owned());
                found.error(entry.key.place, format!("`{}` is empty", key.name), remedy);
                items
            }
            Value::List(items) => items,
            _ => {
                report_kind(&entry.value, key.name, key.shape, found);
                &[]
            }
        }
    }

    /// The text behind `name`, read by `read`.
    pub(super) fn value<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
        found: &mut Diagnostics,
    ) -> Option<Spanned<T>> {
        let entry = self.entry(name)?;
        read_text(&entry.value, self.section.key(name)?, read, found)
    }

    /// The texts of the list behind `name`; where the table allows it, one text instead of a list.
    pub(super) fn values<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, Wrong>,
        found: &mut Diagnostics,
    ) -> Vec<Spanned<T>> {
        let (Some(entry), Some(key)) = (self.entry(name), self.section.key(name)) else {
            return Vec::new();
        };
        match (&entry.value.value, key.shape) {
            (Value::Text(_), Shape::OneOrMore(_)) => {
                read_text(&entry.value, key, read, found).into_iter().collect()
            }
            _ => {
                let items = self.items(entry, found);
                items
                    .iter()
                    .filter_map(|item| read_text(item, key, &read, found))
                    .collect()
            }
        }
    }

    /// One of the words that the table allows.
    pub(super) fn choice(&self, name: &'static str, found: &mut Diagnostics) -> Option<&'static str> {
        let Some(Shape::Choice(words)) = self.section.key(name).map(|key| key.shape) else {
            return None;
        };
        let read = |text: &str| match words.iter().find(|word| **word == text) {
            Some(word) => Ok(*word),
            None => Err(Wrong::but(
                format!("`{}` is not possible here", values::shorten(text)),
                format!("write {}", words.join(" or ")),
            )),
        };
        self.value(name, read, found).map(|word| word.value)
    }

    /// `true` or `false`; without the key, its default.
    pub(super) fn switch(&self, name: &'static str, found: &mut Diagnostics) -> bool {
        let fallback = matches!(
            self.section.key(name).map(|key| key.fallback),
            Some(Fallback::Value("true"))
        );
        self.value(name, values::switch, found)
            .map_or(fallback, |given| given.value)
    }

    /// The bounded duration behind `name`; without the key, or after a mistake, its default.
    pub(super) fn wait(&self, name: &'static str, wait: Wait, found: &mut Diagnostics) -> Spanned<Duration> {
        let read = |text: &str| values::within(text, wait.least, wait.most);
        self.value(name, read, found).unwrap_or(Spanned {
            value: wait.default,
            place: self.place,
        })
    }

    /// The mapping behind `name` that says where a secret is. A line with a mistake in it is not shown: the
    /// mistake may be that the secret itself stands there.
    pub(super) fn secret(&self, name: &'static str, found: &mut Diagnostics) -> Option<Self> {
        let entry = self.entry(name)?;
        found.conceal(entry.key.place.line);
        found.conceal(entry.value.place.line);
        if let Value::Map(entries) = &entry.value.value {
            for inner in entries {
                found.conceal(inner.key.place.line);
                found.conceal(inner.value.place.line);
            }
        }
        if matches!(entry.value.value, Value::Text(_)) {
            let message = format!("`{name}` must say where the secret is, not what it is");
            let remedy = format!(
                "write `{name}: {{ file: PATH }}`, `{{ env: NAME }}` or `{{ secrets_manager: NAME }}`"
            );
            found.error(entry.value.place, message, Some(remedy));
            return None;
        }
        self.map(name, found)
    }

    /// Every key whose value is a number, a size, a duration or a rate.
    pub(super) fn amounts(&self, found: &mut Diagnostics) -> Vec<(&'static str, Spanned<Amount>)> {
        let mut amounts = Vec::new();
        for entry in self.entries {
            let Some(key) = self.section.key(&entry.key.value) else {
                continue;
            };
            let amount = match key.shape {
                Shape::Count => read_text(&entry.value, key, count_or_unlimited, found),
                Shape::Size => read_text(
                    &entry.value,
                    key,
                    |text| values::size(text).map(Amount::Number),
                    found,
                ),
                Shape::Duration => read_text(
                    &entry.value,
                    key,
                    |text| values::duration(text).map(Amount::Duration),
                    found,
                ),
                Shape::Age => read_text(
                    &entry.value,
                    key,
                    |text| values::age(text).map(Amount::Duration),
                    found,
                ),
                Shape::Rate => rate(entry, found),
                _ => None,
            };
            amounts.extend(amount.map(|amount| (key.name, amount)));
        }
        amounts
    }
}

fn count_or_unlimited(text: &str) -> Result<Amount, Wrong> {
    if text == "unlimited" {
        Ok(Amount::Unlimited)
    } else {
        values::count(text).map(Amount::Number)
    }
}

fn rate(entry: &Entry, found: &mut Diagnostics) -> Option<Spanned<Amount>> {
    let place = entry.value.place;
    match &entry.value.value {
        Value::Text(text) if text == "unlimited" => Some(Spanned {
            value: Amount::Unlimited,
            place,
        }),
        Value::Map(_) => {
            let fields = Fields::open(&entry.value, &super::keys::RATE, Some(&entry.key.value), found)?;
            let burst = fields.value("burst", values::count, found);
            let per_second = fields.value("per_second", values::count, found);
            let value = Amount::Rate {
                burst: burst?.value,
                per_second: per_second?.value,
            };
            Some(Spanned { value, place })
        }
        _ => {
            let remedy = format!(
                "write `{}: {{ burst: 100, per_second: 10 }}` or `unlimited`",
                entry.key.value
            );
            found.error(
                place,
                format!("`{}` is not a rate", entry.key.value),
                Some(remedy),
            );
            None
        }
    }
}

fn read_text<T>(
    node: &Node,
    key: &'static Key,
    read: impl FnOnce(&str) -> Result<T, Wrong>,
    found: &mut Diagnostics,
) -> Option<Spanned<T>> {
    let Value::Text(text) = &node.value else {
        // An item of a list is one text.
        let shape = match key.shape {
            Shape::Texts(form) | Shape::OneOrMore(form) => Shape::Text(form),
            shape => shape,
        };
        report_kind(node, key.name, shape, found);
        return None;
    };
    match read(text) {
        Ok(value) => Some(Spanned {
            value,
            place: node.place,
        }),
        Err(Wrong { message, remedy }) => {
            if values::may_hold_secret(text) {
                found.conceal(node.place.line);
            }
            found.error(node.place, format!("`{}`: {message}", key.name), remedy);
            None
        }
    }
}

/// Reports that `node` is not of the kind that `shape` asks for.
/// The remedy for a pair of files in place of a certificate's name, which is the style of other gateways.
pub(super) fn pair_of_files(node: &Node) -> Option<String> {
    const PARTS: [&str; 10] = [
        "cert",
        "cert_file",
        "certificate",
        "certificate_file",
        "chain",
        "crt",
        "private_key",
        "key",
        "key_file",
        "files",
    ];
    let entries = match &node.value {
        Value::List(items) => return items.iter().find_map(pair_of_files),
        Value::Map(entries) => entries,
        _ => return None,
    };
    let is_part = |entry: &Entry| PARTS.contains(&entry.key.value.as_str());
    entries.iter().any(is_part).then(|| {
        "describe it at the top level (`certificates: [{name: api, files: {chain: …, key: …}}]`), and name it in the \
         listener (`tls: {certificates: [api]}`)"
            .to_owned()
    })
}

fn report_kind(node: &Node, name: &str, shape: Shape, found: &mut Diagnostics) {
    let (wanted, remedy) = match (shape, &node.value) {
        (Shape::Texts(_) | Shape::OneOrMore(_) | Shape::Text(_), Value::Map(_))
            if name == "certificates"
                && let Some(remedy) = pair_of_files(node) =>
        {
            ("the name of a certificate", remedy)
        }
        (Shape::Maps(_), Value::Map(_)) => ("a list", "begin each entry with `- `".to_owned()),
        (Shape::Maps(_), _) => (
            "a list of entries",
            "write each entry below, begun with `- `".to_owned(),
        ),
        (Shape::Texts(_) | Shape::OneOrMore(_), Value::Text(text)) => (
            "a list",
            format!("write `{name}: [{}]`", quoted(&values::shorten(text))),
        ),
        (Shape::Texts(_) | Shape::OneOrMore(_), _) => ("a list", format!("write `{name}: [a, b]`")),
        (Shape::Map(section), _) => {
            let keys = section
                .keys
                .iter()
                .map(|key| format!("`{}`", key.name))
                .collect::<Vec<_>>()
                .join(", ");
            (
                "keys and values",
                format!("write its keys below, two spaces deeper: {keys}"),
            )
        }
        (_, Value::List(_)) => ("one value, not a list", format!("write `{name}: VALUE`")),
        (_, Value::Map(_)) => (
            "one value, without keys of its own",
            format!("write `{name}: VALUE`"),
        ),
        _ => ("a value", format!("write `{name}: VALUE`, or remove the line")),
    };
    let message = match &node.value {
        Value::Nothing => format!("`{name}` has no value"),
        _ => format!("`{name}` must be {wanted}; this is {}", node.kind()),
    };
    found.error(node.place, message, Some(remedy));
}

fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'));
    if plain {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    }
}

/// The first sentence as a part of another.
fn in_brackets(about: &str) -> String {
    let sentence = first_sentence(about).trim_end_matches('.');
    let mut letters = sentence.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), letters.as_str())
        }
        _ => sentence.to_owned(),
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(". ").next().unwrap_or(text).trim_end()
}
