//! Every key of the configuration file, once: decoding, `schema`, the reference in `docs/` and the
//! effective configuration all come from these tables.

use std::time::Duration;

mod aws;
mod certificate;
mod listener;
mod top;
mod trust;

pub(super) use certificate::{CAS, KnownCa};
pub(super) use top::{DEADLINES, RATE, SECRET, TOP};

/// A group of keys: one mapping of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// In messages: "a listener".
    pub(super) title: &'static str,
    /// The purpose; the first line of its part of the reference.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys that exclude each other; one group at most.
    pub(super) one_of: &'static [OneOf],
    /// Keys that a later version may have, and what to write until then.
    pub(super) future: &'static [(&'static str, &'static str)],
}

/// Keys of which at most one may be given.
#[derive(Debug)]
pub(super) struct OneOf {
    /// The noun for each of them: "a source".
    pub(super) what: &'static str,
    pub(super) keys: &'static [&'static str],
    /// One of them must be given.
    pub(super) required: bool,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
    /// The reason why one would set it.
    pub(super) about: &'static str,
    /// Names from other programs that mean the same.
    pub(super) synonyms: &'static [&'static str],
}

/// The kind of value of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Map(&'static Section),
    Maps(&'static Section),
    Text(Form),
    Texts(Form),
    OneOrMore(Form),
    Switch,
    Choice(&'static [&'static str]),
    Count,
    /// A count from the first to the second.
    CountWithin(u64, u64),
    Size,
    /// More than zero.
    Duration,
    /// A duration that may be zero.
    Age,
    /// A duration from the first to the second, which may be zero.
    Within(Duration, Duration),
    /// `{ burst: N, per_second: N }` or `unlimited`.
    Rate,
    /// `{ file: PATH }`, `{ env: NAME }` or `{ secrets_manager: NAME }`, the last with `region` and the like.
    Secret,
}

/// The enum [`Form`]: what a text means, with the name of that in the reference.
macro_rules! forms {
    ($($form:ident: $name:literal;)+) => {
        /// The meaning of a text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Form {
            $($form),+
        }

        impl Form {
            /// The name in the reference.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$form => $name),+
                }
            }
        }
    };
}

forms! {
    Name: "name";
    Reference: "reference";
    ListenAddress: "`ip:port`";
    Endpoint: "`host:port`";
    Network: "`ip/bits`";
    Domain: "domain";
    Host: "host";
    Service: "`package.Service`";
    Method: "method";
    Path: "path";
    LogLevel: "level";
    Directory: "word or URL";
    KeyType: "kind of key";
    Mail: "mail address";
    Resolver: "`ip:port`";
    Line: "text";
    Url: "URL";
}

/// The rule for a key that is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// It cannot be left out.
    Required,
    /// It cannot be left out either; the code that reads it reports that, with what the keys beside it say.
    RequiredThere,
    /// No value; the text says what that means.
    Absent(&'static str),
    /// This text, as it would be written.
    Value(&'static str),
    /// A default too, from the code that uses it.
    Computed(fn() -> String),
    /// A mapping whose own keys have defaults.
    Inner,
}

impl Fallback {
    pub(super) fn is_required(self) -> bool {
        matches!(self, Self::Required | Self::RequiredThere)
    }
}

impl Key {
    /// The default as the file would have it.
    pub(super) fn default(&self) -> Option<String> {
        match self.fallback {
            Fallback::Value(text) => Some(text.to_owned()),
            Fallback::Computed(text) => Some(text()),
            Fallback::Required | Fallback::RequiredThere | Fallback::Absent(_) | Fallback::Inner => None,
        }
    }
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Shape {
    /// The keys inside, if it has keys.
    pub(super) fn section(self) -> Option<&'static Section> {
        match self {
            Self::Map(section) | Self::Maps(section) => Some(section),
            Self::Rate => Some(&RATE),
            Self::Secret => Some(&SECRET),
            _ => None,
        }
    }
}

/// Calls `visit` for every section with its path in the file (`listeners[].tls`), parents first.
pub(super) fn walk(visit: &mut dyn FnMut(&str, &'static Section)) {
    fn inside(path: &str, section: &'static Section, visit: &mut dyn FnMut(&str, &'static Section)) {
        visit(path, section);
        for key in section.keys {
            let dot = if path.is_empty() { "" } else { "." };
            match key.shape {
                Shape::Map(inner) => inside(&format!("{path}{dot}{}", key.name), inner, visit),
                Shape::Maps(inner) => inside(&format!("{path}{dot}{}[]", key.name), inner, visit),
                _ => {}
            }
        }
    }
    inside("", &TOP, visit);
}

/// A [`Key`]: its name, its shape, the rule for its absence, its purpose, and its synonyms. A name alone is a constant: a
/// key that several sections have.
macro_rules! key {
    ($key:ident) => {
        $key
    };
    ($key:ident: $shape:expr, $fallback:expr, $about:literal $(also $($synonym:literal)+)?) => {
        Key {
            name: stringify!($key),
            shape: $shape,
            fallback: $fallback,
            about: $about,
            synonyms: &[$($($synonym),+)?],
        }
    };
}

/// A [`Section`] with one row for each key, as in [`key`].
macro_rules! section {
    (
        $vis:vis $section:ident: $title:literal, $about:literal;
        keys { $($key:ident $(: $shape:expr, $fallback:expr, $why:literal $(also $($synonym:literal)+)?)?;)+ }
        $(one_of $what:literal, required: $required:literal { $($one:ident)+ })?
        $(future { $($future:literal => $instead:expr;)+ })?
    ) => {
        $vis static $section: Section = Section {
            title: $title,
            about: $about,
            keys: &[$(key!($key $(: $shape, $fallback, $why $(also $($synonym)+)?)?)),+],
            one_of: &[$(OneOf {
                what: $what,
                keys: &[$(stringify!($one)),+],
                required: $required,
            })?],
            future: &[$($(($future, $instead)),+)?],
        };
    };
}

pub(super) use key;
use section;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// The text in place of a default where one of several sources is needed.
const ANOTHER_SOURCE: Fallback = Fallback::Absent("one of the other sources");

#[cfg(test)]
pub(super) use {
    listener::{LISTENER, TLS},
    top::BACKEND,
};
