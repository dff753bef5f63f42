//! A slot for each name, which holds the bundle that serves and the refusal of its newest candidate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::serving::{Rejection, Serving, Status};

/// The slots of one kind of bundle.
#[derive(Debug)]
pub struct Slots<B> {
    slots: Mutex<BTreeMap<Arc<str>, Arc<Slot<B>>>>,
    /// Number of times that one bundle was replaced by another.
    swaps: AtomicU64,
}

/// The slot of one name. It lives as long as the configuration or a verifier uses it.
pub(crate) struct Slot<B> {
    name: Arc<str>,
    state: ArcSwap<SlotState<B>>,
}

/// The state of one certificate or trust bundle.
#[derive(Debug)]
pub(crate) struct SlotState<B> {
    /// The configuration names it.
    pub(crate) declared: bool,
    pub(crate) serving: Option<Arc<Serving<B>>>,
    pub(crate) refusal: Option<Rejection>,
}

impl<B> Default for Slots<B> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
            swaps: AtomicU64::default(),
        }
    }
}

impl<B> Slots<B> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Slot<B>>>> {
        // The map is whole at every moment.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of this name, made if it is not there: a listener may come before its bundle.
    pub(crate) fn slot(&self, name: &str) -> Arc<Slot<B>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(name) {
            return Arc::clone(slot);
        }
        let name: Arc<str> = name.into();
        let slot = Arc::new(Slot {
            name: Arc::clone(&name),
            state: ArcSwap::from_pointee(SlotState {
                declared: false,
                serving: None,
                refusal: None,
            }),
        });
        slots.insert(name, Arc::clone(&slot));
        slot
    }

    pub(crate) fn serving(&self, name: &str) -> Option<Arc<Serving<B>>> {
        // Under the lock: a slot that somebody holds outlives its removal.
        self.lock().get(name)?.serving()
    }

    /// The slots that the configuration names, in the order of the names.
    pub(crate) fn list(&self) -> Vec<Status<B>> {
        let status = |slot: &Arc<Slot<B>>| {
            let state = slot.state.load();
            state.declared.then(|| Status {
                name: Arc::clone(&slot.name),
                serving: state.serving.clone(),
                refusal: state.refusal.clone(),
            })
        };
        self.lock().values().filter_map(status).collect()
    }

    /// Removes the slot; one that is in use is no longer declared, and goes on with its bundle.
    pub(crate) fn remove(&self, name: &str) {
        let mut slots = self.lock();
        // Verifiers are made under the same lock, so nobody can begin to look into it meanwhile.
        match slots.get(name) {
            Some(slot) if Arc::strong_count(slot) > 1 => slot.change(|state| state.declared = false),
            _ => drop(slots.remove(name)),
        }
    }

    /// To be called once the bundle is in its slot: a reader of the new count sees the new bundle.
    pub(crate) fn count_swap(&self) {
        self.swaps.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Acquire)
    }
}

impl<B> Slot<B> {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn serving(&self) -> Option<Arc<Serving<B>>> {
        self.state.load().serving.clone()
    }

    /// Changes are made by the one writer, one after the other.
    pub(crate) fn change(&self, edit: impl FnOnce(&mut SlotState<B>)) {
        let state = self.state.load();
        let mut changed = SlotState {
            declared: state.declared,
            serving: state.serving.clone(),
            refusal: state.refusal.clone(),
        };
        edit(&mut changed);
        self.state.store(Arc::new(changed));
    }
}

impl<B> fmt::Debug for Slot<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn who_only_looks_keeps_no_slot() {
        let slots = Slots::<u8>::default();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    slots.serving("a");
                }
            });
            let left = (0..20_000).find(|_| {
                slots.slot("a");
                slots.remove("a");
                !slots.lock().is_empty()
            });
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(left, None);
        });
    }
}
