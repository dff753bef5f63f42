//! Reading the keys of one mapping by its table. Every mistake is reported and reading goes on, so that
//! one look finds them all. Each value that was read, defaults included, becomes a part of the effective configuration.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certmgr::KeyType;
use gateway::settings::EndpointAddress;
use serde_json::{Value as Json, json};

use super::bounds::Amount;
use super::diagnostic::{Diagnostics, Place, Remedy, Spanned};
use super::keys::{Fallback, Key, RATE, Section, Shape, TOP};
use super::reference::typed;
use super::tree::{Entry, Node, Value};
use super::values::{self, ValueError, shorten, value_error, write_duration};
use super::{LocatedPath, PathUse, unknown};

/// The reading of one file.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    found: RefCell<Diagnostics>,
    /// The folder of the file, in which relative paths begin.
    folder: &'a Path,
    /// The values that were read, in the shape of the file.
    effective: RefCell<Json>,
    /// The paths that were read, for `check`.
    paths: RefCell<Vec<LocatedPath>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(path: &'a Path, found: Diagnostics) -> Self {
        Self {
            found: RefCell::new(found),
            folder: path.parent().unwrap_or(Path::new("")),
            effective: RefCell::new(json!({})),
            paths: RefCell::default(),
        }
    }

    /// The mistakes, and the effective configuration.
    pub(super) fn end(self) -> (Diagnostics, Json) {
        (self.found.into_inner(), self.effective.into_inner())
    }
}

/// One mapping of the file, known to be one; unknown and missing keys are reported already.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    reading: &'a Reading<'a>,
    section: &'static Section,
    entries: &'a [Entry],
    /// The place where the mapping begins.
    pub(super) place: Place,
    /// The mapping in the effective configuration (RFC 6901).
    pointer: String,
}

impl<'a> Fields<'a> {
    /// Opens the whole file.
    pub(super) fn of_file(reading: &'a Reading<'a>, root: &'a Node) -> Option<Self> {
        let fields = Self {
            reading,
            section: &TOP,
            entries: &[],
            place: Place::FILE,
            pointer: String::new(),
        };
        let Value::Map(entries) = &root.value else {
            let message = format!("the file must hold keys and values; this is {}", root.kind());
            let remedy = "see examples/minimal.yaml for the smallest configuration that serves";
            fields.error(root.place, message, remedy);
            return None;
        };
        let fields = Self { entries, ..fields };
        fields.report_keys();
        Some(fields)
    }

    /// Opens the mapping that stands behind `key`, or is an item of its list.
    fn open(&self, node: &'a Node, key: &Key, section: &'static Section, step: &str) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            self.report_kind(node, key.name, Shape::Map(section));
            return None;
        };
        // A block mapping begins at its first key: underline that, not a brace.
        let first = entries.first().map(|entry| entry.key.place);
        let fields = Self {
            section,
            entries,
            place: first.filter(|first| *first >= node.place).unwrap_or(node.place),
            pointer: format!("{}/{step}", self.pointer),
            reading: self.reading,
        };
        fields.report_keys();
        Some(fields)
    }

    /// Reports unknown keys, missing ones, and those that exclude each other.
    fn report_keys(&self) {
        let (section, entries) = (self.section, self.entries);
        for entry in entries {
            if section.key(&entry.key.value).is_none() {
                unknown::report(section, entry, &mut self.reading.found.borrow_mut());
            }
        }
        for key in section.keys {
            let is_required = matches!(key.fallback, Fallback::Required);
            if is_required && !self.has(key.name) && !unknown::stands_for(entries, section, key.name) {
                let message = format!("{} lacks `{}`", self.whose(), key.name);
                let remedy = format!("add `{}` ({})", key.name, in_brackets(key.about));
                self.error(self.place, message, remedy);
            }
        }
        for one_of in section.one_of {
            let is_one = |entry: &&Entry| one_of.keys.contains(&entry.key.value.as_str());
            let given = entries.iter().filter(is_one).collect::<Vec<_>>();
            let words = values::listed(one_of.keys);
            match given.as_slice() {
                [] if one_of.required => {
                    let is_meant = |key: &&str| unknown::stands_for(entries, section, key);
                    if !one_of.keys.iter().any(is_meant) {
                        let message = format!("{} lacks {}", self.whose(), one_of.what);
                        self.error(self.place, message, format!("add one of {words}"));
                    }
                }
                [first, second, ..] => {
                    let (first, place, second) = (&first.key.value, second.key.place, &second.key.value);
                    let message = format!("{} has `{first}` and `{second}`", self.whose());
                    self.error(place, message, format!("keep one of {words}"));
                }
                _ => {}
            }
        }
    }

    pub(super) fn error(&self, place: Place, message: impl Into<String>, remedy: impl Remedy) {
        self.reading.found.borrow_mut().error(place, message, remedy);
    }

    pub(super) fn warning(&self, place: Place, message: impl Into<String>, remedy: impl Remedy) {
        self.reading.found.borrow_mut().warning(place, message, remedy);
    }

    /// The number of errors so far, in the whole file.
    pub(super) fn errors(&self) -> usize {
        self.reading.found.borrow().errors()
    }

    /// Says if the key is written, with any value.
    pub(super) fn has(&self, name: &str) -> bool {
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
    pub(super) fn misspelled(&self, name: &str) -> bool {
        !self.has(name) && unknown::stands_for(self.entries, self.section, name)
    }

    /// For messages: "certificate `api`", or what the section is.
    fn whose(&self) -> String {
        let name = self.entries.iter().find(|entry| entry.key.value == "name");
        match name.map(|entry| &entry.value.value) {
            Some(Value::Text(name)) => {
                let kind = self.section.title.trim_start_matches("a ");
                format!("{kind} `{}`", shorten(name))
            }
            _ => self.section.title.to_owned(),
        }
    }

    /// The place where `name` stands, or the whole mapping.
    pub(super) fn place_of(&self, name: &str) -> Place {
        self.entry(name).map_or(self.place, |entry| entry.key.place)
    }

    /// Puts a value into the effective configuration.
    pub(super) fn set_effective(&self, name: &str, value: impl Into<Json>) {
        let mut effective = self.reading.effective.borrow_mut();
        if let Some(map) = effective.pointer_mut(&self.pointer).and_then(Json::as_object_mut) {
            map.insert(name.to_owned(), value.into());
        }
    }

    /// The mapping behind `name`. One whose keys all have defaults is empty where the key is absent.
    pub(super) fn map(&self, name: &'static str) -> Option<Self> {
        let key = self.section.key(name)?;
        let section = key.shape.section()?;
        let fields = match self.entry(name) {
            Some(entry) => self.open(&entry.value, key, section, name)?,
            None if matches!(key.fallback, Fallback::Inner) => self.empty(name, section),
            None => return None,
        };
        self.set_effective(name, json!({}));
        Some(fields)
    }

    /// The mapping behind a key that may be left out, since its own keys have defaults; empty after a mistake.
    pub(super) fn inner(&self, name: &'static str) -> Self {
        let section = self.section.key(name).and_then(|key| key.shape.section());
        let empty = self.empty(name, section.unwrap_or(self.section));
        self.map(name).unwrap_or(empty)
    }

    fn empty(&self, name: &str, section: &'static Section) -> Self {
        Self {
            section,
            entries: &[],
            pointer: format!("{}/{name}", self.pointer),
            ..*self
        }
    }

    /// The list of mappings behind `name`. One that cannot be read is reported and left out.
    pub(super) fn maps(&self, name: &'static str) -> Vec<Self> {
        let key = self.section.key(name);
        let (Some(entry), Some(key)) = (self.entry(name), key) else {
            return Vec::new();
        };
        let Some(section) = key.shape.section() else {
            return Vec::new();
        };
        let items = self.items(entry, key);
        self.set_effective(name, vec![json!({}); items.len()]);
        let open = |(n, item)| self.open(item, key, section, &format!("{name}/{n}"));
        items.iter().enumerate().filter_map(open).collect()
    }

    fn items(&self, entry: &'a Entry, key: &Key) -> &'a [Node] {
        let Value::List(items) = &entry.value.value else {
            self.report_kind(&entry.value, key.name, key.shape);
            return &[];
        };
        if items.is_empty() && key.fallback.is_required() {
            let message = format!("`{}` is empty", key.name);
            self.error(entry.key.place, message, first_sentence(key.about));
        }
        items
    }

    /// The text behind `name`, read by `read`; without the key, or after a mistake, its default.
    pub(super) fn spanned<T: AsWritten>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<Spanned<T>> {
        let key = self.section.key(name)?;
        let entry = self.entry(name);
        let given = entry.and_then(|entry| self.read(&entry.value, key, &read));
        let default = || Some(Spanned::new(read(&key.default()?).ok()?, Place::FILE));
        let value = given.or_else(default)?;
        self.set_effective(name, typed(key.shape, &value.value.as_written()));
        Some(value)
    }

    /// Like [`Self::spanned`], without the place.
    pub(super) fn value<T: AsWritten>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.spanned(name, read).map(|spanned| spanned.value)
    }

    /// The texts of the list behind `name`; where the table allows it, one text instead of a list.
    pub(super) fn values<T: AsWritten>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Vec<Spanned<T>> {
        let (Some(entry), Some(key)) = (self.entry(name), self.section.key(name)) else {
            return self.spanned(name, read).into_iter().collect();
        };
        let nodes = match (&entry.value.value, key.shape) {
            (Value::Text(_), Shape::OneOrMore(_)) => std::slice::from_ref(&entry.value),
            _ => self.items(entry, key),
        };
        let values = nodes.iter().filter_map(|node| self.read(node, key, &read));
        let values = values.collect::<Vec<_>>();
        let shown = values.iter().map(|value| value.value.as_written());
        self.set_effective(name, shown.collect::<Vec<_>>());
        values
    }

    /// One of the words that the table allows.
    pub(super) fn choice(&self, name: &'static str) -> &'static str {
        let Some(Shape::Choice(words)) = self.section.key(name).map(|key| key.shape) else {
            return "";
        };
        let read = |text: &str| {
            let word = words.iter().find(|word| **word == text);
            word.copied().ok_or_else(
                || value_error!("`{}` is not possible here", shorten(text); "write {}", words.join(" or ")),
            )
        };
        self.value(name, read).unwrap_or_default()
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, name: &'static str) -> bool {
        self.value(name, values::switch).unwrap_or_default()
    }

    /// A whole number within the bounds of the table.
    pub(super) fn count(&self, name: &'static str) -> u64 {
        let Some(Shape::CountWithin(least, most)) = self.section.key(name).map(|key| key.shape) else {
            return 0;
        };
        let read = |text: &str| values::count_within(text, &(least..=most));
        self.value(name, read).unwrap_or_default()
    }

    /// A duration within the bounds of the table.
    pub(super) fn duration(&self, name: &'static str) -> Spanned<Duration> {
        let shape = self.section.key(name).map(|key| key.shape);
        let read = |text: &str| match shape {
            Some(Shape::Within(least, most)) => values::within(text, least, most),
            Some(Shape::Age) => values::age(text),
            _ => values::duration(text),
        };
        let duration = self.spanned(name, read);
        duration.unwrap_or(Spanned::new(Duration::ZERO, Place::FILE))
    }

    /// The path behind `name`, which `check` looks at.
    pub(super) fn path(&self, name: &'static str, purpose: PathUse) -> Option<PathBuf> {
        let given = self.spanned(name, values::path)?;
        let path = self.in_folder(name, &given.value);
        self.note_path(path.clone(), given.place, purpose);
        Some(path)
    }

    /// The path that `text` of the key `name` means: relative ones begin in the folder of the file.
    pub(super) fn in_folder(&self, name: &str, text: &str) -> PathBuf {
        let path = self.reading.folder.join(text);
        self.set_effective(name, path.display().to_string());
        path
    }

    /// Notes a path for `check`.
    pub(super) fn note_path(&self, path: PathBuf, place: Place, purpose: PathUse) {
        let noted = LocatedPath { path, place, purpose };
        self.reading.paths.borrow_mut().push(noted);
    }

    /// The paths that were noted since this was asked last.
    pub(super) fn take_paths(&self) -> Vec<LocatedPath> {
        self.reading.paths.take()
    }

    /// The mapping behind `name` that says where a secret is. A line with a mistake in it is not shown: the
    /// mistake may be that the secret itself stands there.
    pub(super) fn secret(&self, name: &'static str) -> Option<Self> {
        let entry = self.entry(name)?;
        let inner = match &entry.value.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        for entry in inner.iter().chain([entry]) {
            let mut found = self.reading.found.borrow_mut();
            found.conceal(entry.key.place.line);
            found.conceal(entry.value.place.line);
        }
        if matches!(entry.value.value, Value::Text(_)) {
            let message = format!("`{name}` must say where the secret is, not what it is");
            let remedy = format!(
                "write `{name}: {{ file: PATH }}`, `{{ env: NAME }}` or `{{ secrets_manager: NAME }}`"
            );
            self.error(entry.value.place, message, remedy);
            return None;
        }
        self.map(name)
    }

    /// Every key whose value is a number, a size, a duration or a rate.
    pub(super) fn amounts(&self) -> Vec<(&'static str, Spanned<Amount>)> {
        let amount = |entry: &'a Entry| {
            let key = self.section.key(&entry.key.value)?;
            let read = |text: &str| match key.shape {
                Shape::Count if text == "unlimited" => Ok(Amount::Unlimited),
                Shape::Count => values::count(text).map(Amount::Number),
                Shape::Size => values::size(text).map(Amount::Number),
                Shape::Age => values::age(text).map(Amount::Duration),
                _ => values::duration(text).map(Amount::Duration),
            };
            let amount = match key.shape {
                Shape::Count | Shape::Size | Shape::Duration | Shape::Age => {
                    self.read(&entry.value, key, read)
                }
                Shape::Rate => self.rate(entry, key),
                _ => None,
            };
            Some((key.name, amount?))
        };
        self.entries.iter().filter_map(amount).collect()
    }

    fn rate(&self, entry: &'a Entry, key: &Key) -> Option<Spanned<Amount>> {
        let (name, place) = (key.name, entry.value.place);
        let value = match &entry.value.value {
            Value::Text(text) if text == "unlimited" => Amount::Unlimited,
            Value::Map(_) => {
                let fields = self.open(&entry.value, key, &RATE, name)?;
                let burst = fields.value("burst", values::count);
                let per_second = fields.value("per_second", values::count);
                Amount::Rate {
                    burst: burst?,
                    per_second: per_second?,
                }
            }
            _ => {
                let remedy = format!("write `{name}: {{ burst: 100, per_second: 10 }}` or `unlimited`");
                self.error(place, format!("`{name}` is not a rate"), remedy);
                return None;
            }
        };
        Some(Spanned::new(value, place))
    }

    fn read<T>(
        &self,
        node: &Node,
        key: &Key,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<Spanned<T>> {
        let Value::Text(text) = &node.value else {
            // An item of a list is one text.
            let shape = match key.shape {
                Shape::Texts(form) | Shape::OneOrMore(form) => Shape::Text(form),
                shape => shape,
            };
            self.report_kind(node, key.name, shape);
            return None;
        };
        let ValueError { message, remedy } = match read(text) {
            Ok(value) => return Some(Spanned::new(value, node.place)),
            Err(error) => error,
        };
        if values::may_hold_secret(text) {
            self.reading.found.borrow_mut().conceal(node.place.line);
        }
        self.error(node.place, format!("`{}`: {message}", key.name), remedy);
        None
    }

    /// Reports that `node` is not of the kind that `shape` asks for.
    fn report_kind(&self, node: &Node, name: &str, shape: Shape) {
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
            (Shape::Texts(_) | Shape::OneOrMore(_), Value::Text(text)) => {
                ("a list", format!("write `{name}: [{}]`", quoted(&shorten(text))))
            }
            (Shape::Texts(_) | Shape::OneOrMore(_), _) => ("a list", format!("write `{name}: [a, b]`")),
            (Shape::Map(section), _) => {
                let keys = section.keys.iter().map(|key| key.name).collect::<Vec<_>>();
                let keys = values::listed(&keys);
                let remedy = format!("write its keys below, two spaces deeper: {keys}");
                ("keys and values", remedy)
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
        self.error(node.place, message, remedy);
    }
}

/// A value as the effective configuration shows it: in the form that the file would have it.
pub(super) trait AsWritten {
    fn as_written(&self) -> String;
}

macro_rules! as_written {
    ($($type:ty: $value:ident => $text:expr;)*) => {$(
        impl AsWritten for $type {
            fn as_written(&self) -> String {
                let $value = self;
                $text
            }
        }
    )*};
}

as_written! {
    String: text => text.clone();
    &str: text => (*text).to_owned();
    bool: switch => switch.to_string();
    u64: count => count.to_string();
    Duration: duration => write_duration(*duration);
    SocketAddr: address => address.to_string();
    ipnet::IpNet: network => network.to_string();
    certstore::Name: name => name.to_string();
    KeyType: kind => kind.name().to_owned();
    EndpointAddress: endpoint => match endpoint {
        Self::Address(address) => address.to_string(),
        Self::Name { host, port } => format!("{host}:{port}"),
    };
}

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
