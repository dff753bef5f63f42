//! Where a pair comes from. Each source reads one consistent pair and can say what would wake it.
//!
//! Another source adds a variant to `config::Source` and a file here, with the same two answers: a [`Pair`],
//! or an `Error` that names the place.

pub(crate) mod file;

use std::fmt;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

/// The bytes of a chain and a key that were in place at one and the same instant.
pub(crate) struct Pair {
    pub(crate) chain: Zeroizing<Vec<u8>>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Tells contents apart. Never shown: it is made of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content([u8; 32]);

impl Pair {
    pub(crate) fn content(&self) -> Content {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.chain.len().to_be_bytes());
        context.update(&self.chain);
        context.update(&self.key);
        let mut content = [0; 32];
        content
            .iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        Content(content)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}
