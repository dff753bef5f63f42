//! Writes a JSON value as YAML in block style, for people.

use serde_json::Value;

/// The document, with a newline at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match is_nested(value) {
        true => block(value, 0, &mut text),
        false => line(value, &mut text),
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
                if is_nested(member) {
                    text.push_str(":\n");
                    block(member, indentation + 2, text);
                } else {
                    text.push_str(": ");
                    line(member, text);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(indentation, text);
                text.push_str("- ");
                if is_nested(item) {
                    // The first line of the item stands on the line of its dash.
                    let mut inner = String::new();
                    block(item, indentation + 2, &mut inner);
                    text.push_str(inner.trim_start_matches(' '));
                } else {
                    line(item, text);
                }
            }
        }
        _ => {}
    }
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn line(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(&scalar(string)),
        other => text.push_str(&other.to_string()),
    }
    text.push('\n');
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
