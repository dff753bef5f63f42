//! YAML → a tree in which every node knows its line and column.
//!
//! Values stay text: whether `1.2` is a version or a number is for the key to say, so YAML's guesses
//! about types (`no`, `1e3`, `0o17`) never matter.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;

use super::diagnostic::{Diagnostics, Place, Remedy, Spanned};
use super::indentation;
use super::values::shorten;

/// Deeper nesting than any configuration needs.
const MAX_DEPTH: usize = 32;
/// Values that aliases (`*name`) may stand for: bounds what a few lines can grow to. What is written out
/// is bounded by the size of the file.
const MAX_EXPANDED: usize = 100_000;
/// And octets of text: four times the largest file.
const MAX_EXPANDED_TEXT: usize = 4 << 20;
/// Keys of one mapping; each is compared with all before it.
const MAX_KEYS: usize = 1_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// The content of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing after the colon, `~` or `null`.
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Spanned<String>,
    pub(super) value: Node,
}

impl Node {
    /// For messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Nothing => "nothing",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "keys and values",
        }
    }

    /// The number of values in it, and the octets of their text.
    fn size(&self) -> Size {
        let mut size = Size { values: 1, text: 0 };
        match &self.value {
            Value::Nothing => {}
            Value::Text(text) => size.text += text.len(),
            Value::List(items) => items.iter().for_each(|item| size.add(item.size())),
            Value::Map(entries) => {
                for entry in entries {
                    size.text += entry.key.value.len();
                    size.add(entry.value.size());
                }
            }
        }
        size
    }
}

/// The size of a value.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    values: usize,
    text: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.values += other.values;
        self.text += other.text;
    }
}

/// Reads one document. Mistakes of syntax end the reading, because what follows them means nothing;
/// duplicate keys do not. `None`: there was a mistake of syntax, or nothing at all in the file.
pub(super) fn parse(found: &mut Diagnostics) -> Option<Node> {
    if indentation::report_foreign(found) || indentation::report_tabs(found) {
        return None;
    }
    let text = found.text().to_owned();
    let mut builder = Builder {
        frames: Vec::new(),
        anchors: HashMap::new(),
        expanded: Size::default(),
        root: None,
        found,
    };
    for event in Parser::new_from_str(&text) {
        match event {
            Ok((event, span)) => {
                if builder.take(event, span).is_err() {
                    return None;
                }
            }
            Err(error) => {
                report_syntax(&error, builder.found);
                return None;
            }
        }
    }
    if builder.root.is_none() {
        let remedy = "see examples/minimal.yaml for the smallest configuration that serves";
        builder.found.error(Place::FILE, "the file is empty", remedy);
    }
    builder.root
}

fn report_syntax(error: &ScanError, found: &mut Diagnostics) {
    let marker = error.marker();
    // The parser points past the end of the text when something is left open.
    let last = found.text().lines().count().max(1);
    let place = if marker.line() > last {
        let length = found.text().lines().last().map_or(0, |line| line.chars().count());
        Place::new(last, length.max(1), 1)
    } else {
        Place::new(marker.line(), marker.col() + 1, 1)
    };
    let (place, message, remedy) = indentation::explain_syntax(found.text(), place, error.info());
    // The same mistake may have been reported already as a line that was joined to the one before.
    found.remove_line(place.line);
    found.error(place, message, remedy);
}

/// A list or a mapping of which the end has not come yet.
struct Frame {
    /// Without the key whose value has not come yet.
    node: Node,
    anchor: usize,
    key: Option<Spanned<String>>,
}

/// A mistake was reported that ends the reading.
struct Unreadable;

struct Builder<'a> {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    /// The size of everything that aliases stood for so far.
    expanded: Size,
    root: Option<Node>,
    found: &'a mut Diagnostics,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let place = place(span);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                let remedy = "one file holds one configuration; remove the `---` and what follows";
                self.stop(place, "a second document begins here", remedy)
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(id) => self.alias(id, place),
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
                    let name = format!("{}{}", tag.handle, tag.suffix);
                    return self.stop(place, format!("tag `{name}` has no meaning here"), None);
                }
                let mut text = text.into_owned();
                let is_joined = style == ScalarStyle::Plain && span.end.line() > span.start.line();
                // The joined line is looked for in the whole text, so only as often as it can be reported.
                if is_joined && !self.found.is_full() {
                    text = self.first_line(span, place);
                }
                let value = match text.as_str() {
                    "" | "~" | "null" if style == ScalarStyle::Plain => Value::Nothing,
                    _ => Value::Text(text),
                };
                self.node(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(Value::List(Vec::new()), place, anchor),
            Event::MappingStart(anchor, _) => self.open(Value::Map(Vec::new()), place, anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(frame) => self.node(frame.node, frame.anchor),
                None => Ok(()),
            },
        }
    }

    fn stop(
        &mut self,
        place: Place,
        message: impl Into<String>,
        remedy: impl Remedy,
    ) -> Result<(), Unreadable> {
        self.found.error(place, message, remedy);
        Err(Unreadable)
    }

    /// YAML joins bare text with deeper lines that follow. Nothing here needs that; it is a slip of
    /// indentation, so the first line is taken for what was meant.
    fn first_line(&mut self, span: Span, place: Place) -> String {
        let line = |n: usize| self.found.text().lines().nth(n - 1).unwrap_or_default();
        let first = line(place.line)
            .chars()
            .skip(place.column - 1)
            .collect::<String>();
        let first = first.split(" #").next().unwrap_or_default().trim_end().to_owned();
        let next = line(span.end.line());
        let indentation = next.chars().take_while(|c| c.is_whitespace()).count();
        let next = Place::new(span.end.line(), indentation + 1, next.trim().chars().count());
        let remedy = format!(
            "YAML joins it to `{}`: begin it in the column of its neighbours above",
            shorten(&first)
        );
        self.found.error(next, "this line is indented too deep", remedy);
        first
    }

    fn open(&mut self, value: Value, place: Place, anchor: usize) -> Result<(), Unreadable> {
        if self.frames.len() >= MAX_DEPTH {
            return self.stop(place, format!("nested deeper than {MAX_DEPTH} levels"), None);
        }
        self.frames.push(Frame {
            node: Node { place, value },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<(), Unreadable> {
        // An anchor is known once its node is complete, so a node cannot hold itself.
        let Some(node) = self.anchors.get(&id) else {
            return self.stop(place, "this alias stands inside the value that it names", None);
        };
        self.expanded.add(node.size());
        let too_much = if self.expanded.values > MAX_EXPANDED {
            format!("{MAX_EXPANDED} values")
        } else if self.expanded.text > MAX_EXPANDED_TEXT {
            format!("{} MiB of text", MAX_EXPANDED_TEXT >> 20)
        } else {
            let node = node.clone();
            return self.node(node, 0);
        };
        let message = format!("up to this one, aliases stand for more than {too_much}");
        self.stop(place, message, "use fewer aliases, or shorter ones")
    }

    fn node(&mut self, mut node: Node, anchor: usize) -> Result<(), Unreadable> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Frame {
            node: parent,
            key: open_key,
            ..
        }) = self.frames.last_mut()
        else {
            self.root = Some(node);
            return Ok(());
        };
        let entries = match &mut parent.value {
            Value::Map(entries) => entries,
            Value::List(items) => {
                items.push(node);
                return Ok(());
            }
            Value::Nothing | Value::Text(_) => return Ok(()),
        };
        let Some(key) = open_key.take() else {
            let text = match node.value {
                Value::Text(text) => text,
                Value::Nothing => String::new(),
                Value::List(_) | Value::Map(_) => {
                    return self.stop(node.place, "a key must be a word", None);
                }
            };
            *open_key = Some(Spanned::new(text, node.place));
            return Ok(());
        };
        if node.value == Value::Nothing {
            node.place = key.place;
        }
        if entries.len() >= MAX_KEYS {
            return self.stop(
                key.place,
                format!("more than {MAX_KEYS} keys in one mapping"),
                None,
            );
        }
        if let Some(first) = entries.iter().find(|e| e.key.value == key.value) {
            let message = format!("key `{}` is given twice", key.value);
            let remedy = format!("the first is in line {}; keep one", first.key.place.line);
            self.found.error(key.place, message, remedy);
        } else {
            entries.push(Entry { key, value: node });
        }
        Ok(())
    }
}

fn place(span: Span) -> Place {
    let length = if span.start.line() == span.end.line() {
        span.len()
    } else {
        1
    };
    Place::new(span.start.line(), span.start.col() + 1, length)
}
