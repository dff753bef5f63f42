//! RPCs that are queued until a connection can take them, in turns of their clients.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::pool::share::may_have_another;
use crate::slab::Key;

/// An RPC that waits, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) relay: Key,
    pub(crate) since: Instant,
}

/// A queue for each client's connection; they take turns. An RPC that ends meanwhile is taken out by its owner.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queues: HashMap<Key, VecDeque<Waiter>>,
    /// Clients with a queue, each once; the first is the next to be served.
    turns: VecDeque<Key>,
    len: usize,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `true` if one more RPC of this client may wait where `max` may wait in all. Places are shared as streams are.
    pub(crate) fn admits(&self, client: Key, max: usize) -> bool {
        let queued = self.queues.get(&client).map_or(0, VecDeque::len);
        may_have_another(queued as u64, max.saturating_sub(self.len) as u64, max as u64)
    }

    /// The RPC that gives its place to one of `client`, which has none while all are taken: the youngest of whoever has
    /// most, if that client keeps another one.
    pub(crate) fn gives_way_to(&self, client: Key) -> Option<Key> {
        if self.queues.contains_key(&client) {
            return None;
        }
        let longest = self.queues.values().max_by_key(|queue| queue.len())?;
        let youngest = longest.back().filter(|_| longest.len() > 1)?;
        Some(youngest.relay)
    }

    pub(crate) fn push(&mut self, client: Key, waiter: Waiter) {
        self.len += 1;
        match self.queues.entry(client) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(waiter),
            Entry::Vacant(none) => {
                none.insert(VecDeque::from([waiter]));
                self.turns.push_back(client);
            }
        }
    }

    /// Back to where [`Self::next`] took it from.
    pub(crate) fn put_back(&mut self, client: Key, waiter: Waiter) {
        self.len += 1;
        self.turns.retain(|known| *known != client);
        self.turns.push_front(client);
        self.queues.entry(client).or_default().push_front(waiter);
    }

    /// The oldest RPC of the next client in turn that `may` have a stream.
    pub(crate) fn next(&mut self, may: impl Fn(Key) -> bool) -> Option<(Key, Waiter)> {
        // Those who may not have a share of the endpoint already, so there are few.
        let passed_over = self.turns.iter().position(|client| may(*client))?;
        self.turns.rotate_left(passed_over);
        let client = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&client)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.len -= usize::from(waiter.is_some());
        Some((client, waiter?))
    }

    /// An RPC that has ended waits no more.
    pub(crate) fn remove(&mut self, client: Key, relay: Key) {
        let Some(queue) = self.queues.get_mut(&client) else {
            return;
        };
        let before = queue.len();
        queue.retain(|waiter| waiter.relay != relay);
        self.len -= before - queue.len();
        if queue.is_empty() {
            self.queues.remove(&client);
            self.turns.retain(|known| *known != client);
        }
    }

    /// Clients whose oldest RPC has waited for so long, in their turn.
    pub(crate) fn since(&self, now: Instant, wait: Duration) -> impl Iterator<Item = Key> {
        self.turns.iter().copied().filter(move |client| {
            let oldest = self.queues.get(client).and_then(VecDeque::front);
            oldest.is_some_and(|waiter| now.saturating_duration_since(waiter.since) >= wait)
        })
    }

    /// RPCs that have waited for as long as they may. They are to be ended, which takes them out.
    pub(crate) fn expired(&self, now: Instant, max_wait: Duration) -> Vec<Key> {
        let queues = self.queues.values();
        let expired = queues.flat_map(|queue| {
            let late = |waiter: &&Waiter| now.saturating_duration_since(waiter.since) >= max_wait;
            queue.iter().take_while(late)
        });
        expired.map(|waiter| waiter.relay).collect()
    }

    /// All of them, clients in their turn.
    pub(crate) fn all(&self) -> Vec<Key> {
        let queues = self.turns.iter().filter_map(|client| self.queues.get(client));
        queues.flatten().map(|waiter| waiter.relay).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    const ANYBODY: fn(Key) -> bool = |_| true;

    fn keys<const N: usize>() -> [Key; N] {
        let mut slab = Slab::new();
        std::array::from_fn(|_| slab.insert(()))
    }

    fn waiter(relay: Key, since: Instant) -> Waiter {
        Waiter { relay, since }
    }

    #[test]
    fn clients_are_served_in_turn_and_each_ones_rpcs_in_their_order() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let [many, one, a, b, c, d] = keys();
        for (client, relay) in [(many, a), (many, b), (many, c), (one, d)] {
            waiting.push(client, waiter(relay, now));
        }
        assert_eq!(waiting.all(), [a, b, c, d]);
        let served: Vec<_> = std::iter::from_fn(|| Some(waiting.next(ANYBODY)?.1.relay)).collect();
        assert_eq!(served, [a, d, b, c]);
        assert!(waiting.is_empty() && waiting.queues.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_its_turn() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let [greedy, modest, a, b] = keys();
        waiting.push(greedy, waiter(a, now));
        waiting.push(modest, waiter(b, now));
        assert_eq!(
            waiting.next(|client| client == modest),
            Some((modest, waiter(b, now)))
        );
        assert_eq!(waiting.next(|client| client == modest), None);
        assert_eq!(waiting.next(ANYBODY), Some((greedy, waiter(a, now))));
    }

    #[test]
    fn what_cannot_be_sent_goes_back_to_the_front() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let [one, two, a, b, c] = keys();
        for (client, relay) in [(one, a), (one, b), (two, c)] {
            waiting.push(client, waiter(relay, now));
        }
        let (client, first) = waiting.next(ANYBODY).unwrap();
        waiting.put_back(client, first);
        assert_eq!(waiting.all(), [a, b, c]);
        assert_eq!(waiting.len, 3);
    }

    #[test]
    fn rpcs_that_end_leave_nothing_behind() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let [client, other, a, b] = keys();
        waiting.push(client, waiter(a, now));
        waiting.push(client, waiter(b, now));
        for (client, relay) in [(client, a), (client, a), (other, b), (client, b)] {
            waiting.remove(client, relay);
        }
        assert!(waiting.is_empty() && waiting.queues.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn who_has_waited_for_the_longest_time_is_reported_and_nobody_else() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let [one, two, a, b, c] = keys();
        waiting.push(one, waiter(a, start));
        waiting.push(one, waiter(b, start + second));
        waiting.push(two, waiter(c, start + second));
        assert!(waiting.expired(start + 2 * second, 3 * second).is_empty());
        assert_eq!(waiting.expired(start + 3 * second, 3 * second), [a]);
        assert_eq!(waiting.expired(start + 4 * second, 3 * second).len(), 3);
    }

    #[test]
    fn no_client_takes_all_the_places_of_the_queue() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let mut relays = Slab::new();
        let [greedy, modest] = keys();
        while waiting.admits(greedy, 100) {
            waiting.push(greedy, waiter(relays.insert(()), now));
        }
        assert_eq!(waiting.len, 84);
        assert!(waiting.admits(modest, 100));
    }

    #[test]
    fn who_has_nothing_gets_a_place_of_whoever_has_most() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let [many, few, modest, another, a, b, c, d] = keys();
        for (client, relay) in [(few, a), (many, b), (many, c)] {
            waiting.push(client, waiter(relay, now));
        }
        assert!(!waiting.admits(modest, 3));
        assert_eq!(waiting.gives_way_to(many), None);
        assert_eq!(waiting.gives_way_to(modest), Some(c));
        waiting.remove(many, c);
        assert!(waiting.admits(modest, 3));
        waiting.push(modest, waiter(d, now));
        assert_eq!(waiting.gives_way_to(another), None, "nobody loses the last one");
    }
}
