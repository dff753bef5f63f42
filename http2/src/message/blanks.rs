//! Values with blanks at their ends, and the same fields without.

use crate::field::Indexing;
use crate::{Field, Name};

/// A field that came with outer blanks, and what is passed on for it.
#[derive(Debug)]
struct Pair {
    came: Field,
    kept: Field,
}

/// The copies made of fields that may come again out of the peer's table: there one octet names each of them, and to
/// make it anew would cost a hundred times what that costs the peer. Nothing, until the first such field comes.
#[derive(Debug, Default)]
pub(crate) struct Trimmed(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of the addresses at which lie those that came.
    pairs: Vec<Pair>,
    /// Sizes of all fields in it.
    size: usize,
    /// The number of fields that were made.
    #[cfg(test)]
    made: usize,
}

/// A larger field is never in a table.
const LARGEST: usize = 4096;
/// The sizes of all that may be in a table, what is made of it, and as much of what has left it. Past that all is
/// forgotten.
const MOST: usize = 4 * LARGEST;

impl Trimmed {
    /// Octets that it has from the allocator, as if it shared nothing with a table.
    pub(crate) fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |known| {
            size_of::<Known>() + known.size + known.pairs.capacity() * size_of::<Pair>()
        })
    }

    /// Takes the outer blanks of regular fields away.
    #[cold]
    pub(super) fn trim(&mut self, fields: &mut [Field]) {
        for field in fields {
            if field.facts().outer_blanks && field.name().first() != Some(&b':') {
                *field = self.0.get_or_insert_default().without_blanks(field);
            }
        }
    }
}

impl Known {
    fn without_blanks(&mut self, field: &Field) -> Field {
        if field.indexing() != Indexing::Incremental || field.size() > LARGEST {
            return self.make(field);
        }
        let address = field.address();
        match self
            .pairs
            .binary_search_by_key(&address, |pair| pair.came.address())
        {
            Ok(at) => match self.pairs.get(at) {
                Some(pair) => pair.kept.clone(),
                None => self.make(field),
            },
            Err(at) => {
                let kept = self.make(field);
                let pair = Pair {
                    came: field.clone(),
                    kept: kept.clone(),
                };
                let size = field.size() + kept.size();
                if self.size + size > MOST {
                    self.pairs.clear();
                    self.size = 0;
                }
                self.size += size;
                self.pairs.insert(at.min(self.pairs.len()), pair);
                kept
            }
        }
    }

    /// Blanks of `grpc-message` are percent-encoded, as its sender should have done (gRPC over HTTP/2, *Status-Message*),
    /// so that nothing of a text for people is lost.
    fn make(&mut self, field: &Field) -> Field {
        #[cfg(test)]
        {
            self.made += 1;
        }
        let is_blank = |b: &&u8| matches!(b, b' ' | b'\t');
        let value = field.value();
        let (before, rest) = value.split_at(value.iter().take_while(is_blank).count());
        let (inner, after) = rest.split_at(rest.len() - rest.iter().rev().take_while(is_blank).count());
        if field.known() == Name::GrpcMessage {
            let encoded = [&percent_encoded(before), inner, &percent_encoded(after)].concat();
            return Field::with_indexing(field.name(), &encoded, field.indexing());
        }
        Field::with_indexing(field.name(), inner, field.indexing())
    }
}

fn percent_encoded(blanks: &[u8]) -> Vec<u8> {
    let code = |b: &u8| if *b == b' ' { b"%20" } else { b"%09" };
    blanks.iter().flat_map(code).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: usize) -> Field {
        Field::new(b"a", format!(" {number} ").as_bytes())
    }

    #[test]
    fn what_a_table_names_again_is_made_once() {
        let table: Vec<Field> = (0..100).map(field).collect();
        let mut trimmed = Trimmed::default();
        for request in 0..50 {
            let named = (0..230).map(|n| table[(n * 7 + request) % table.len()].clone());
            let mut fields: Vec<Field> = named.collect();
            trimmed.trim(&mut fields);
            for (n, made) in fields.iter().enumerate() {
                let number = (n * 7 + request) % table.len();
                assert_eq!(made.value(), number.to_string().as_bytes());
            }
        }
        assert_eq!(trimmed.0.unwrap().made, 100);
    }

    #[test]
    fn what_does_not_come_again_is_forgotten() {
        let mut trimmed = Trimmed::default();
        for number in 0..10_000 {
            let mut one = [field(number)];
            trimmed.trim(&mut one);
            assert_eq!(one[0].value(), number.to_string().as_bytes());
            assert!(trimmed.heap() <= 2 * MOST, "{}", trimmed.heap());
        }
        let large = Field::new(b"a", &[b' '; 10_000]);
        let secret = Field::with_indexing(b"a", b" b", Indexing::Never);
        let before = trimmed.heap();
        trimmed.trim(&mut [large, secret]);
        assert_eq!(trimmed.heap(), before);
    }
}
