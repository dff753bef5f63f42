//! Names that an order is proving just now by TLS-ALPN-01. A name is answered with one certificate at a time: two
//! orders for the same name would hide the answers of each other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The claimed names. A claim waits until no other claim has one of its names.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claimed: Mutex<HashSet<String>>,
    released: Notify,
}

/// A claim on names. It ends when it is dropped.
#[must_use = "dropping it releases the names at once"]
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    names: Vec<String>,
}

impl Claims {
    /// Waits until all names are free and claims them at once: no claim has some names while it waits for others.
    /// Cancelling the wait claims none.
    pub(super) async fn claim(self: &Arc<Self>, names: Vec<String>) -> Claim {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // From here on no release is missed.
            released.as_mut().enable();
            let is_free = {
                let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
                let is_free = names.iter().all(|name| !claimed.contains(name));
                if is_free {
                    claimed.extend(names.iter().cloned());
                }
                is_free
            };
            if is_free {
                let claims = Arc::clone(self);
                return Claim { claims, names };
            }
            released.await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.claims.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            claimed.remove(name);
        }
        self.claims.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_claim_waits_for_those_that_hold_one_of_its_names() {
        let claims = Arc::new(Claims::default());
        let first = claims.claim(names(&["a", "b"])).await;
        let mut second = Box::pin(claims.claim(names(&["b", "c"])));
        assert!(second.as_mut().now_or_never().is_none());
        // Waiting holds nothing.
        let third = claims.claim(names(&["c"])).now_or_never().unwrap();
        drop(first);
        assert!(second.as_mut().now_or_never().is_none());
        drop(third);
        let _second = second.await;
        assert!(claims.claim(names(&["a"])).now_or_never().is_some());
        assert!(claims.claim(names(&["c"])).now_or_never().is_none());
    }
}
