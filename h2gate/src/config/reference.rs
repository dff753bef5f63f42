//! The tables of keys as others want them: a JSON Schema, and one row per key for the reference.

use certmgr::KeyType;
use serde_json::{Map, Value, json};

use super::keys::{Fallback, Form, RATE, SECRET, Section, Shape, TOP, walk};
use super::values::{listed, write_duration};

/// One key of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Path of the mapping that holds it, such as `listeners[].tls`; empty at the top level.
    pub section: String,
    /// The purpose of that mapping.
    pub section_about: &'static str,
    /// Name of the key.
    pub name: &'static str,
    /// The values that it takes.
    pub kind: String,
    /// The default as it would be written, if there is one that can be.
    pub default: Option<String>,
    /// The meaning of an absent key, in words: the default, another rule, or `required`.
    pub otherwise: String,
    /// The reason why one would set it.
    pub about: &'static str,
}

/// Every key, section by section in the order of the file.
pub fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    walk(&mut |path, section| {
        for key in section.keys {
            let default = key.default();
            let otherwise = match (key.fallback, &default) {
                (Fallback::Required | Fallback::RequiredThere, _) => "**required**".to_owned(),
                (Fallback::Absent(meaning), _) => meaning.to_owned(),
                (_, Some(text)) => format!("`{text}`"),
                (_, None) => "as below".to_owned(),
            };
            all.push(Setting {
                section: path.to_owned(),
                section_about: section.about,
                name: key.name,
                kind: kind(key.shape),
                default,
                otherwise,
                about: key.about,
            });
        }
    });
    all
}

fn kind(shape: Shape) -> String {
    match shape {
        Shape::Map(_) => "mapping".to_owned(),
        Shape::Maps(_) => "list of mappings".to_owned(),
        Shape::Text(form) => form.name().to_owned(),
        Shape::Texts(form) => format!("list of {}", form.name()),
        Shape::OneOrMore(form) => format!("{0} or list of {0}", form.name()),
        Shape::Switch => "`true` or `false`".to_owned(),
        Shape::Choice(words) => listed(words).replace(", ", " or "),
        Shape::Count => "number".to_owned(),
        Shape::CountWithin(least, most) => format!("number, {least} to {most}"),
        Shape::Size => "size".to_owned(),
        Shape::Duration | Shape::Age => "duration".to_owned(),
        Shape::Within(least, most) => {
            format!("duration, {} to {}", write_duration(least), write_duration(most))
        }
        Shape::Rate => "rate".to_owned(),
        Shape::Secret => "secret reference".to_owned(),
    }
}

/// JSON Schema (2020-12) of the file, for editors. What it accepts may still be refused: references, and
/// forms of text that a pattern cannot say.
pub fn schema() -> Value {
    let mut schema = section_schema(&TOP);
    if let Some(map) = schema.as_object_mut() {
        map.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.insert("title".to_owned(), json!("h2gate configuration"));
    }
    schema
}

fn section_schema(section: &'static Section) -> Value {
    let mut properties = Map::new();
    for key in section.keys {
        let mut schema = shape_schema(key.shape);
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".to_owned(), json!(key.about));
            if let Some(text) = key.default() {
                map.insert("default".to_owned(), typed(key.shape, &text));
            }
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required = section.keys.iter().filter(|key| key.fallback.is_required());
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required.map(|key| key.name).collect::<Vec<_>>(),
    });
    let exclusive = section.one_of.iter().find(|one_of| one_of.required);
    if let (Some(one_of), Some(map)) = (exclusive, schema.as_object_mut()) {
        let each = one_of.keys.iter().map(|key| json!({ "required": [key] }));
        map.insert("oneOf".to_owned(), each.collect());
    }
    schema
}

/// A value as JSON has it.
pub(super) fn typed(shape: Shape, text: &str) -> Value {
    let rate = || {
        let inside = text.strip_prefix("{ burst: ")?.strip_suffix(" }")?;
        let (burst, per_second) = inside.split_once(", per_second: ")?;
        Some(json!({ "burst": burst.parse::<u64>().ok()?, "per_second": per_second.parse::<u64>().ok()? }))
    };
    match shape {
        Shape::Switch => json!(text == "true"),
        Shape::Count | Shape::CountWithin(..) => text
            .parse::<u64>()
            .map_or_else(|_| json!(text), |number| json!(number)),
        Shape::Rate => rate().unwrap_or_else(|| json!(text)),
        _ => json!(text),
    }
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::Map(section) => section_schema(section),
        Shape::Maps(section) => json!({ "type": "array", "items": section_schema(section) }),
        Shape::Text(form) => form_schema(form),
        Shape::Texts(form) => json!({ "type": "array", "items": form_schema(form) }),
        Shape::OneOrMore(form) => {
            json!({ "anyOf": [form_schema(form), { "type": "array", "items": form_schema(form) }] })
        }
        Shape::Switch => json!({ "type": "boolean" }),
        // `1.2` without quotes is a number to an editor and text to us.
        Shape::Choice(words) => {
            let numbers = words.iter().filter_map(|word| word.parse::<f64>().ok());
            let numbers = numbers.map(|number| json!(number));
            let words = words.iter().map(|word| json!(word)).chain(numbers);
            json!({ "enum": words.collect::<Vec<_>>() })
        }
        Shape::Count => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "unlimited" }] }),
        Shape::CountWithin(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^[0-9][0-9_]* ?([KMG]i?)?B$" },
        ] }),
        Shape::Duration | Shape::Age | Shape::Within(..) => {
            json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" })
        }
        Shape::Secret => section_schema(&SECRET),
        Shape::Rate => json!({ "anyOf": [section_schema(&RATE), { "const": "unlimited" }] }),
    }
}

fn form_schema(form: Form) -> Value {
    match form {
        Form::KeyType => json!({ "enum": KeyType::ALL.map(|(name, _)| name) }),
        Form::Url => json!({ "type": "string", "pattern": "^https?://" }),
        Form::Mail => json!({ "type": "string", "pattern": "^[^@]+@[^@]+$" }),
        Form::ListenAddress | Form::Endpoint => json!({ "type": "string", "pattern": ":[0-9]+$" }),
        // Names and the like may look like numbers.
        Form::Name | Form::Reference => json!({ "type": ["string", "number"] }),
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}
