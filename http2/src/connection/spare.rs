//! Buffers that idle connections gave back, for the next busy one of the same thread.
//!
//! Ten thousand idle connections must hold no buffers, and a busy one must not allocate in every turn. A connection
//! never leaves its thread, so the store is the thread's and has no lock. It changes no behaviour, only addresses.

use crate::Field;
use std::cell::RefCell;

/// Larger buffers than this are given back as soon as they are empty.
pub(crate) const KEPT: usize = 4096;
/// Larger ones than this are freed, so that one burst does not stay for ever.
const LARGEST: usize = 512 << 10;
const BUFFERS: usize = 8;
const LISTS: usize = 64;
/// A new list takes the head of an ordinary gRPC call without growing.
const FIELDS: usize = 16;
const LONGEST_LIST: usize = 128;

#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    lists: Vec<Vec<Field>>,
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { buffers: Vec::new(), lists: Vec::new() }) };
}

fn with<T: Default>(f: impl FnOnce(&mut Spare) -> T) -> T {
    SPARE
        .try_with(|spare| {
            spare
                .try_borrow_mut()
                .map(|mut spare| f(&mut spare))
                .unwrap_or_default()
        })
        .unwrap_or_default()
}

/// An empty buffer, with room if one was spare.
pub(crate) fn buffer() -> Vec<u8> {
    with(|spare| spare.buffers.pop()).unwrap_or_default()
}

/// `buffer` is empty now: a small one is kept where it is, a large one given back.
pub(crate) fn give_back(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT {
        let large = std::mem::take(buffer);
        if large.capacity() <= LARGEST {
            with(|spare| {
                if spare.buffers.len() < BUFFERS {
                    spare.buffers.push(large);
                }
            });
        }
    }
}

/// An empty list of fields.
pub(crate) fn list() -> Vec<Field> {
    with(|spare| spare.lists.pop()).unwrap_or_else(|| Vec::with_capacity(FIELDS))
}

/// A list that nobody needs any more.
pub(crate) fn give_back_list(mut list: Vec<Field>) {
    list.clear();
    if (FIELDS..=LONGEST_LIST).contains(&list.capacity()) {
        with(|spare| {
            if spare.lists.len() < LISTS {
                spare.lists.push(list);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_goes_to_the_next_who_asks() {
        let mut large = Vec::with_capacity(20_000);
        large.push(1);
        give_back(&mut large);
        assert_eq!(large.capacity(), 0);
        let again = buffer();
        assert!(again.is_empty() && again.capacity() >= 20_000);
    }

    #[test]
    fn a_small_buffer_stays_and_a_huge_one_is_freed() {
        let mut small = Vec::with_capacity(KEPT);
        give_back(&mut small);
        assert_eq!(small.capacity(), KEPT);
        let mut huge = Vec::with_capacity(LARGEST + 1);
        give_back(&mut huge);
        assert_eq!((huge.capacity(), buffer().capacity()), (0, 0));
    }

    #[test]
    fn a_list_is_used_again() {
        let mut fields = Vec::with_capacity(19);
        fields.push(Field::new(b"a", b"b"));
        give_back_list(fields);
        let again = list();
        assert!(again.is_empty() && again.capacity() >= 19);
    }
}
