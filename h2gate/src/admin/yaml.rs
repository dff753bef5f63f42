//! Writes a JSON value as YAML in block style, for people.

use serde_json::Value;

/// The document, with a newline at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut text),
        other => {
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
    text
}

/// A mapping or a list that holds something, at an indentation; the cursor is at a line's beginning.
fn block(value: &Value, indentation: usize, text: &mut String) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                pad(indentation, text);
                text.push_str(&scalar(key));
                text.push(':');
                after_key(member, indentation, text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| entry(item, indentation, text)),
        _ => {}
    }
}

fn after_key(member: &Value, indentation: usize, text: &mut String) {
    if is_empty(member) || !(member.is_object() || member.is_array()) {
        text.push(' ');
        text.push_str(&inline(member));
        text.push('\n');
    } else {
        text.push('\n');
        block(member, indentation + 2, text);
    }
}

fn entry(item: &Value, indentation: usize, text: &mut String) {
    pad(indentation, text);
    text.push('-');
    if is_empty(item) || !(item.is_object() || item.is_array()) {
        text.push(' ');
        text.push_str(&inline(item));
        text.push('\n');
        return;
    }
    // The first line of the item stands on the line of its dash.
    let mut inner = String::new();
    block(item, indentation + 2, &mut inner);
    text.push(' ');
    text.push_str(inner.trim_start_matches(' '));
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => scalar(string),
        other => other.to_string(),
    }
}

/// Plain where no YAML reader could take it for something else, else as JSON, which YAML 1.2 holds.
fn scalar(string: &str) -> String {
    let plain_start = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let word = words.iter().any(|word| string.eq_ignore_ascii_case(word));
    if plain_start && string.chars().all(plain) && !word {
        string.to_owned()
    } else {
        Value::from(string).to_string()
    }
}

fn pad(indentation: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indentation));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_indented_by_two() {
        let value = json!({"a": [{"b": 1, "c": ["x", {"d": []}]}, "z"], "e": {}, "f": {"g": null}});
        let text = "a:\n  - b: 1\n    c:\n      - x\n      - d: []\n  - z\ne: {}\nf:\n  g: null\n";
        assert_eq!(document(&value), text);
    }

    #[test]
    fn strings_that_look_like_something_else_are_quoted() {
        for string in [
            "true",
            "No",
            "1",
            "1.5",
            "",
            "a: b",
            "#x",
            "[::]:8443",
            "10s",
            "*.example.com",
            "é\n",
        ] {
            assert_eq!(
                document(&json!(string)),
                format!("{}\n", json!(string)),
                "{string}"
            );
        }
        assert_eq!(document(&json!("api.example.com")), "api.example.com\n");
    }

    #[test]
    fn a_list_in_a_list_keeps_its_shape() {
        assert_eq!(document(&json!([[1, 2], []])), "- - 1\n  - 2\n- []\n");
    }
}
