//! Two text fields of a JSON object, and the certificates in others. Errors name place and field, never content.

use std::collections::BTreeSet;
use std::fmt;

use certstore::is_shown;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use zeroize::Zeroizing;

/// Number of field names in an error about a missing field.
const MAX_SHOWN_NAMES: usize = 12;

/// Longest field name that is shown: a longer one may be a key in the wrong place.
const MAX_NAME_CHARS: usize = 40;

/// Bytes that editors on Windows put before the first brace.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Beginning of the text that is looked for in other fields.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

type Text = Zeroizing<Vec<u8>>;

/// Result of reading an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretFields {
    /// The texts of the two fields.
    pub(super) wanted: [Text; 2],
    /// Texts with certificates in other fields, or in lists of texts there.
    pub(super) others: Vec<Text>,
}

/// Reads an object. The same name twice among the wanted ones is valid.
pub(crate) fn fields(json: &[u8], wanted: [&str; 2]) -> Result<SecretFields, String> {
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    if json.trim_ascii_start().starts_with(b"\"") {
        return Err("it is a text in quotes, and no JSON object: store what stands in the quotes".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(json);
    let object = json
        .deserialize_map(ObjectVisitor { wanted })
        .and_then(|object| json.end().map(|()| object))
        .map_err(|error| describe(&error))?;
    let [first, second] = wanted;
    Ok(SecretFields {
        wanted: [object.text(first)?, object.text(second)?],
        others: object.others,
    })
}

fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => format!("it is JSON that ends too early (line {line}, column {column})"),
        Category::Data => format!("it is no JSON object with each field once (line {line}, column {column})"),
        Category::Syntax | Category::Io => format!("it is not JSON (line {line}, column {column})"),
    }
}

struct ObjectVisitor<'a> {
    wanted: [&'a str; 2],
}

/// The wanted fields that were found, and the names of all.
#[derive(Default)]
struct FoundFields {
    texts: Vec<(String, Result<Text, &'static str>)>,
    others: Vec<Text>,
    names: BTreeSet<String>,
}

impl FoundFields {
    fn text(&self, name: &str) -> Result<Text, String> {
        match self.texts.iter().find(|(found, _)| found == name) {
            Some((_, Ok(text))) => Ok(text.clone()),
            Some((_, Err(kind))) => Err(format!("its field `{name}` is {kind}, not a text")),
            None if self.names.is_empty() => Err(format!("it has no field `{name}`, nor any other")),
            None => Err(format!("it has no field `{name}`, but {}", self.shown_names())),
        }
    }

    fn shown_names(&self) -> String {
        let names = self.names.iter().take(MAX_SHOWN_NAMES);
        let names = names.map(|name| short(name)).collect::<Vec<_>>().join(", ");
        match self.names.len().saturating_sub(MAX_SHOWN_NAMES) {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

/// The text; or the kind of a value that is none.
fn text_of(value: Value) -> Result<Text, &'static str> {
    match value {
        Value::String(text) => Ok(Zeroizing::new(text.into_bytes())),
        Value::Array(_) => Err("a list"),
        Value::Null => Err("null"),
        Value::Bool(_) => Err("true or false"),
        Value::Number(_) => Err("a number"),
        Value::Object(_) => Err("an object"),
    }
}

/// Adds the value if it is a text with certificates, and those in a list of texts.
fn add_certificates(value: Value, found: &mut Vec<Text>) {
    if let Value::Array(list) = value {
        return list.into_iter().for_each(|one| add_certificates(one, found));
    }
    let has_certificate = |text: &[u8]| text.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE);
    found.extend(text_of(value).ok().filter(|text| has_certificate(text)));
}

fn short(name: &str) -> String {
    match name.chars().count() {
        0..=MAX_NAME_CHARS => {
            let shown: String = name.chars().filter(|char| is_shown(*char)).collect();
            format!("`{shown}`")
        }
        count => format!("one of {count} characters"),
    }
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = FoundFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FoundFields, A::Error> {
        let mut found = FoundFields::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if self.wanted.contains(&name.as_str()) {
                found.texts.push((name.clone(), text_of(value)));
            } else {
                add_certificates(value, &mut found.others);
            }
            // RFC 8259 §4: the meaning of a name that comes twice is not defined.
            if !found.names.insert(name) {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(String, String), String> {
        let [chain, key] = fields(json.as_bytes(), ["certificate", "private_key"])?.wanted;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&chain), text(&key)))
    }

    #[test]
    fn two_fields_are_read_and_the_others_do_not_matter() {
        let json = r#" {"a": [1, {"b": null}], "private_key": "k\nl", "certificate": "c", "z": 1.5} "#;
        assert_eq!(read(json), Ok(("c".to_owned(), "k\nl".to_owned())));
    }

    #[test]
    fn a_byte_order_mark_does_no_harm() {
        let json = "\u{feff}{\"certificate\": \"c\", \"private_key\": \"k\"}";
        assert_eq!(read(json), Ok(("c".to_owned(), "k".to_owned())));
    }

    #[test]
    fn a_key_in_the_place_of_a_name_is_not_told() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        for json in [
            format!("{{\"{key}\": 1}}"),
            format!("{{\"-----BEGIN PRIVATE KEY-----\\n{key}\": 1}}"),
        ] {
            let message = read(&json).unwrap_err();
            assert!(
                message.contains("characters") && !message.contains("MIGH"),
                "{message}"
            );
        }
    }

    #[test]
    fn one_field_may_be_both() {
        let [chain, key] = fields(br#"{"pem": "x"}"#, ["pem", "pem"]).unwrap().wanted;
        assert_eq!((chain.as_slice(), key.as_slice()), (&b"x"[..], &b"x"[..]));
    }

    #[test]
    fn certificates_in_other_fields_are_found() {
        let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\\n{text}");
        let json = format!(
            r#"{{"a": "{}", "private_key": "k", "b": ["x", "{}", [1, "{}"]], "certificate": "{}", "c": {{"d": "{}"}}, "e": "s"}}"#,
            pem("1"),
            pem("2"),
            pem("3"),
            pem("4"),
            pem("5")
        );
        let others = fields(json.as_bytes(), ["certificate", "private_key"])
            .unwrap()
            .others;
        let expected =
            ["1", "2", "3"].map(|text| Zeroizing::new(pem(text).replace("\\n", "\n").into_bytes()));
        assert_eq!(others, expected);
    }

    #[test]
    fn mistakes_are_told_by_place_and_name() {
        let cases = [
            ("", "it is JSON that ends too early (line 1, column 0)"),
            (
                r#"{"certificate": "SECRET"#,
                "it is JSON that ends too early (line 1, column 23)",
            ),
            (
                "{\n  \"certificate\": SECRET}",
                "it is not JSON (line 2, column 18)",
            ),
            ("-----BEGIN CERTIFICATE-----", "it is not JSON (line 1, column 2)"),
            (
                r#""{\"certificate\": \"SECRET\"}""#,
                "it is a text in quotes, and no JSON object: store what stands in the quotes",
            ),
            (
                "1",
                "it is no JSON object with each field once (line 1, column 1)",
            ),
            (r#"{"x": 1} SECRET"#, "it is not JSON (line 1, column 10)"),
            (
                r#"{"x": "SECRET", "x": "SECRET"}"#,
                "it is no JSON object with each field once (line 1, column 30)",
            ),
            ("{}", "it has no field `certificate`, nor any other"),
            (
                r#"{"cert": "SECRET", "key": "SECRET"}"#,
                "it has no field `certificate`, but `cert`, `key`",
            ),
            (
                r#"{"certificate": {"SECRET": 1}}"#,
                "its field `certificate` is an object, not a text",
            ),
            (
                r#"{"certificate": ["SECRET"]}"#,
                "its field `certificate` is a list, not a text",
            ),
            (
                r#"{"certificate": null}"#,
                "its field `certificate` is null, not a text",
            ),
            (
                r#"{"certificate": 1.25}"#,
                "its field `certificate` is a number, not a text",
            ),
        ];
        for (json, message) in cases {
            assert_eq!(read(json), Err(message.to_owned()), "{json}");
        }
    }

    #[test]
    fn many_long_names_are_told_in_short() {
        let long = "n".repeat(1_000);
        let json: Vec<String> = (0..50).map(|index| format!("\"{index:02}{long}\": 1")).collect();
        let message = read(&format!("{{{}}}", json.join(","))).unwrap_err();
        assert!(message.ends_with(" and 38 more"), "{message}");
        assert!(message.len() < 1_000, "{message}");
    }
}
