//! Writes the full example and the tables of the reference from the decoder's tables.

use h2gate::config::{Setting, settings};

/// In `docs/configuration.md` everything behind this line is written from the tables.
pub(crate) const MARK: &str =
    "<!-- Below: written from the tables of the program, see h2gate/tests/config_reference.rs -->";

const HEAD: &str = "\
# Every key. Where there is a default, it is the value given here; a real file needs a few of these lines
# only (see minimal.yaml). Written from the program's own tables, and loaded by its tests.
";

/// Values for keys that have no default.
const VALUES: &[(&str, &str)] = &[
    ("listeners[].name", "public"),
    ("listeners[].address", "\"[::]:8443\""),
    ("listeners[].tls.certificates", "[api]"),
    ("listeners[].trusted_peers", "[10.0.0.0/8, \"fd00::/8\"]"),
    ("certificates[].name", "api"),
    ("certificates[].domains", "[api.example.com]"),
    ("certificates[].files.chain", "certs/api.crt"),
    ("certificates[].files.key", "certs/api.key"),
    ("routes[].name", "get-feature"),
    ("routes[].match.host", "api.example.com"),
    ("routes[].match.service", "routeguide.RouteGuide"),
    ("routes[].match.method", "GetFeature"),
    ("routes[].backend", "guide"),
    ("backends[].name", "guide"),
    (
        "backends[].endpoints",
        "[\"guide.internal:50051\", \"10.0.0.7:50051\"]",
    ),
    ("workers", "2"),
];

/// The file, with one value replaced where `instead` says so.
pub(crate) fn full_example(instead: Option<(&Setting, &str)>) -> String {
    let all = settings();
    let mut text = HEAD.to_owned();
    section(&all, "", 0, false, instead, &mut text);
    text
}

fn section(
    all: &[Setting],
    path: &str,
    indent: usize,
    mut dash: bool,
    instead: Option<(&Setting, &str)>,
    text: &mut String,
) {
    for setting in all.iter().filter(|setting| setting.section == path) {
        let own = if path.is_empty() {
            setting.name.to_owned()
        } else {
            format!("{path}.{}", setting.name)
        };
        if indent == 0 {
            text.push('\n');
        }
        let spaces = " ".repeat(indent);
        let mut lead = spaces.clone();
        if std::mem::take(&mut dash) {
            lead.replace_range(indent - 2.., "- ");
        }
        comment(setting, lead.trim_end_matches("- "), text);
        let replaced = instead
            .filter(|(other, _)| *other == setting)
            .map(|(_, value)| value);
        let value = replaced.map(str::to_owned).or_else(|| value(setting, &own));
        match (value, setting.kind.as_str()) {
            (Some(value), _) => text.push_str(&format!("{lead}{}: {value}\n", setting.name)),
            (None, "list of mappings") => {
                text.push_str(&format!("{lead}{}:\n", setting.name));
                section(all, &format!("{own}[]"), indent + 4, true, instead, text);
            }
            (None, _) => {
                text.push_str(&format!("{lead}{}:\n", setting.name));
                section(all, &own, indent + 2, false, instead, text);
            }
        }
    }
}

fn comment(setting: &Setting, spaces: &str, text: &mut String) {
    let mut words = setting.about.to_owned();
    if setting.default.is_none() && !["**required**", "as below"].contains(&setting.otherwise.as_str()) {
        words.push_str(&format!(" Without it: {}.", setting.otherwise));
    }
    let mut line = format!("{spaces}#");
    for word in words.split(' ') {
        if line.len() + word.len() > 105 {
            text.push_str(&format!("{line}\n"));
            line = format!("{spaces}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&format!("{line}\n"));
}

fn value(setting: &Setting, path: &str) -> Option<String> {
    let Some(default) = &setting.default else {
        return VALUES
            .iter()
            .find(|(key, _)| *key == path)
            .map(|(_, value)| (*value).to_owned());
    };
    let plain = default.starts_with('{')
        || default.starts_with(|c: char| c.is_ascii_alphabetic())
        || default.chars().all(|c| c.is_ascii_digit())
        || setting.kind == "size"
        || setting.kind == "duration";
    Some(if plain {
        default.clone()
    } else {
        format!("\"{default}\"")
    })
}

/// One heading and one table for each mapping of the file.
pub(crate) fn tables() -> String {
    let mut text = String::new();
    let mut last = None;
    for setting in settings() {
        if last.as_ref() != Some(&setting.section) {
            let title = if setting.section.is_empty() {
                "The file".to_owned()
            } else {
                format!("`{}`", setting.section)
            };
            text.push_str(&format!("\n### {title}\n\n{}\n\n", setting.section_about));
            text.push_str("| key | value | default | what for |\n|---|---|---|---|\n");
            last = Some(setting.section.clone());
        }
        let cells =
            [&setting.kind, &setting.otherwise, setting.about].map(|cell: &str| cell.replace('|', "\\|"));
        let [kind, otherwise, about] = cells;
        text.push_str(&format!(
            "| `{}` | {kind} | {otherwise} | {about} |\n",
            setting.name
        ));
    }
    text
}
