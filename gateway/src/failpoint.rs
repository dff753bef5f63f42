//! Places where a test lets a worker panic.
//!
//! Without the cargo feature `failpoints` nothing of this is compiled in.

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_place: &'static str) {}

#[cfg(feature = "failpoints")]
pub use armed::{arm, disarm};

#[cfg(feature = "failpoints")]
pub(crate) use armed::hit;

#[cfg(feature = "failpoints")]
mod armed {
    #![allow(clippy::panic, reason = "what it is for")]

    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    /// Nearly always nothing is armed, and then nobody takes the lock.
    static ANY: AtomicBool = AtomicBool::new(false);
    static ARMED: Mutex<Option<(&'static str, usize)>> = Mutex::new(None);

    /// The next `times` that this place is come by, it panics. One place at a time, for all workers of the process.
    pub fn arm(place: &'static str, times: usize) {
        *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, times));
        ANY.store(true, Ordering::Release);
    }

    /// Nothing panics any more. Gives how many times were left.
    pub fn disarm() -> usize {
        ANY.store(false, Ordering::Release);
        let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).take();
        armed.map_or(0, |(_, left)| left)
    }

    pub(crate) fn hit(place: &'static str) {
        if !ANY.load(Ordering::Acquire) {
            return;
        }
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, left)) = &mut *armed
            && *known == place
            && *left > 0
        {
            *left -= 1;
            drop(armed);
            panic!("failpoint \u{1b}[31m{place}\n");
        }
    }
}
