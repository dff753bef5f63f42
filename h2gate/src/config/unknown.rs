//! A key that nobody knows: which one was meant, or where it belongs.

use super::diagnostic::Diagnostics;
use super::indentation;
use super::keys::{Key, Section, walk};
use super::tree::{Entry, Value};
use super::values::shorten;

/// Keys that other gateways need and this one does not: HTTP/2 is always on.
const NEEDLESS: [&str; 5] = ["http2", "h2", "alpn", "alpn_protocols", "grpc"];

/// Reports an unknown key with the best guess at what was meant.
pub(super) fn report(section: &'static Section, entry: &Entry, found: &mut Diagnostics) {
    let name = entry.key.value.as_str();
    let place = entry.key.place;
    if found.is_full() {
        // Only to be counted: looking for what was meant reads the whole text.
        found.error(place, "unknown key", None);
        return;
    }
    if let Some((_, instead)) = section.future.iter().find(|(future, _)| *future == name) {
        found.error(
            place,
            format!("`{name}` is not supported by this version"),
            *instead,
        );
        return;
    }
    if NEEDLESS.contains(&name) {
        let message = format!("`{name}` needs no setting: HTTP/2 is what is spoken, wherever gRPC is");
        found.error(place, message, "remove the line");
        return;
    }
    if name == "<<" {
        let remedy = "write the keys out; whole values can be shared by `&name` and `*name`";
        found.error(place, "merging mappings by `<<` is not supported", remedy);
        return;
    }
    let message = match name {
        "" => format!("an empty key in {}", section.title),
        name => format!("unknown key `{}` in {}", shorten(name), section.title),
    };
    let message = message.replace(" in the top level", " at the top level");
    let remedy = super::fields::pair_of_files(&entry.value)
        .or_else(|| glued(name, entry, section))
        .or_else(|| plural(name, entry, section))
        .or_else(|| {
            indentation::where_it_belongs(found.text(), place.line)
                .filter(|r| r.starts_with(&format!("`{name}`")))
        })
        .or_else(|| nearest(name, section).map(|key| format!("did you mean `{key}`?")))
        .or_else(|| elsewhere(name))
        .unwrap_or_else(|| {
            let names = section.keys.iter().map(|key| key.name).collect::<Vec<_>>();
            format!("keys of {}: {}", section.title, names.join(", "))
        });
    found.error(place, message, remedy);
}

/// Says if one of the unknown keys is probably meant to be `name`; its absence is then no second mistake.
pub(super) fn stands_for(entries: &[Entry], section: &'static Section, name: &str) -> bool {
    entries.iter().map(|entry| entry.key.value.as_str()).any(|key| {
        // A source that does not exist yet stands for one that does.
        let is_source = section.one_of.iter().any(|one_of| one_of.keys.contains(&name));
        let future = is_source && section.future.iter().any(|(future, _)| *future == key);
        section.key(key).is_none() && (future || nearest(key, section) == Some(name))
    })
}

/// `name:value` without the space is read as one long key without a value.
fn glued(name: &str, entry: &Entry, section: &'static Section) -> Option<String> {
    let (key, value) = name.split_once(':')?;
    let meant = entry.value.value == Value::Nothing && section.key(key).is_some();
    meant.then(|| format!("a space is missing behind the colon: write `{key}: {value}`"))
}

/// `backend:` before a list or a mapping is `backends`, whatever other mapping has a key `backend`.
fn plural(name: &str, entry: &Entry, section: &'static Section) -> Option<String> {
    let key = section.key(&format!("{name}s"))?;
    let many = matches!(entry.value.value, Value::List(_) | Value::Map(_));
    many.then(|| format!("did you mean `{}`?", key.name))
}

/// The key of `section` that was probably meant.
fn nearest(name: &str, section: &'static Section) -> Option<&'static str> {
    let snake = snake_case(name);
    let is_synonym = |key: &&Key| key.synonyms.iter().any(|other| *other == name || *other == snake);
    if let Some(key) = section.keys.iter().find(is_synonym) {
        return Some(key.name);
    }
    closest(&snake, section.keys.iter().map(|key| key.name))
}

/// The candidate within a third of the letters of `name`, if any.
pub(super) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= bound && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The remedy for a word that is none of `candidates`: the nearest of them, or something else.
pub(super) fn closest_or(word: &str, candidates: &[&str], otherwise: impl FnOnce() -> String) -> String {
    match closest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise(),
    }
}

/// `minVersion` and `min-version` are `min_version`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars().take(100) {
        match c {
            '-' | ' ' => snake.push('_'),
            c if c.is_ascii_uppercase() => {
                if !snake.is_empty() && !snake.ends_with('_') {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            c => snake.push(c),
        }
    }
    snake
}

/// The mappings of the file that do have such a key.
fn elsewhere(name: &str) -> Option<String> {
    let mut homes = Vec::new();
    walk(&mut |_, section| {
        if section.key(name).is_some() && !homes.contains(&section.title) {
            homes.push(section.title);
        }
    });
    let (last, others) = homes.split_last()?;
    match others {
        [] => Some(format!("`{name}` is a key of {last}")),
        others => Some(format!(
            "`{name}` is a key of {} and of {last}",
            others.join(", of ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{BACKEND, LISTENER, TLS};
    use super::*;

    #[test]
    fn the_nearest_key_is_found_by_letters_by_style_and_by_synonym() {
        assert_eq!(nearest("certificats", &TLS), Some("certificates"));
        assert_eq!(nearest("minVersion", &TLS), Some("min_version"));
        assert_eq!(nearest("without-alpn", &TLS), Some("without_alpn"));
        assert_eq!(nearest("adress", &LISTENER), Some("address"));
        assert_eq!(nearest("port", &LISTENER), Some("address"));
        assert_eq!(nearest("connectTimeout", &BACKEND), Some("connect_timeout"));
        assert_eq!(nearest("colour", &LISTENER), None);
        assert_eq!(nearest("x", &LISTENER), None);
    }

    #[test]
    fn a_key_of_another_mapping_is_told_its_home() {
        assert_eq!(
            elsewhere("endpoints").as_deref(),
            Some("`endpoints` is a key of a backend")
        );
        assert_eq!(elsewhere("tls").as_deref(), Some("`tls` is a key of a listener"));
        assert_eq!(elsewhere("colour"), None);
    }
}
