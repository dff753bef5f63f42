//! A chain and a key from a source or a CA: bytes that nobody has parsed yet.

use std::fmt;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

/// The bytes of a chain and a key that were in place at one and the same instant.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: Zeroizing<Vec<u8>>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Hash that distinguishes contents. Never shown: it is made of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content([u8; 32]);

impl Pair {
    pub(crate) fn content(&self) -> Content {
        Content::of(&[&self.chain, &self.key])
    }
}

impl Content {
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut content = [0; 32];
        content
            .iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(content)
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
