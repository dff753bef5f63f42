//! Places of those who have proved nothing yet: handshakes that have not ended, and connections of HTTP/1.1.
//!
//! All workers together have a number of them. While all are taken, who has been unfinished for longest, on whichever
//! worker, makes room for a newcomer: silence keeps nobody out. For a moment each is safe, or a flood of newcomers would
//! throw out whoever has a long way; only while all are is a newcomer refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::connection::permit::{ConnectionPermit, Count, Permit};

/// For so long nobody has to make room: after accept, and once more after our first answer. Three round trips of 300 ms.
const SAFE: Duration = Duration::from_secs(1);

/// Those of one kind on all workers.
#[derive(Debug, Default)]
pub(crate) struct Places {
    counted: Count,
    taken: Mutex<OccupiedPlaces>,
}

#[derive(Debug, Default)]
struct OccupiedPlaces {
    /// The connections by rank: the one that makes room first comes first.
    by_rank: BTreeMap<Rank, Unproven>,
    next: u64,
}

/// From when on it makes room, and a number of its own.
type Rank = (Instant, u64);

#[derive(Debug)]
struct Unproven {
    connection: ConnectionPermit,
    _counted: Permit,
    peer: SocketAddr,
    gives_way: Arc<Notify>,
}

/// The place of a connection whose client has proved nothing yet; free when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    rank: Rank,
    gives_way: Arc<Notify>,
    is_sent_to: bool,
}

impl Places {
    /// One place more is taken. `None` when there are `max`.
    pub(crate) fn count(&self, max: usize) -> Option<Permit> {
        self.counted.take(max)
    }

    /// A newcomer takes a place that was counted for it.
    pub(crate) fn take(
        self: &Arc<Self>,
        (connection, counted): (ConnectionPermit, Permit),
        peer: SocketAddr,
        now: Instant,
    ) -> Place {
        let mut taken = self.taken();
        let rank = (now + SAFE, taken.next);
        taken.next = taken.next.wrapping_add(1);
        let gives_way = Arc::<Notify>::default();
        let unproven = Unproven {
            connection,
            _counted: counted,
            peer,
            gives_way: gives_way.clone(),
        };
        taken.by_rank.insert(rank, unproven);
        Place {
            places: self.clone(),
            rank,
            gives_way,
            is_sent_to: false,
        }
    }

    /// The connection that has been unfinished for longest has to end, unless it is safe, and is not counted any
    /// more. Gives its address.
    pub(crate) fn make_room(&self, now: Instant) -> Option<SocketAddr> {
        let mut taken = self.taken();
        let first = taken.by_rank.first_entry();
        let gone = first.filter(|first| first.key().0 <= now)?.remove();
        gone.gives_way.notify_one();
        Some(gone.peer)
    }

    fn taken(&self) -> MutexGuard<'_, OccupiedPlaces> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notified when this connection has to end for another one.
    pub(crate) fn gives_way(&self) -> Arc<Notify> {
        self.gives_way.clone()
    }

    /// Something was sent, and its client has a way to go again. Only the first time counts.
    pub(crate) fn on_sent(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_sent_to, true) {
            return;
        }
        let mut taken = self.places.taken();
        if let Some(unproven) = taken.by_rank.remove(&self.rank) {
            self.rank.0 = now + SAFE;
            taken.by_rank.insert(self.rank, unproven);
        }
    }

    /// Its client has shown enough to stay. `None`: it had to end before.
    pub(crate) fn proved(self) -> Option<ConnectionPermit> {
        let unproven = self.places.taken().by_rank.remove(&self.rank)?;
        Some(unproven.connection)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by_rank.remove(&self.rank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 3;

    /// Three places, on a clock of its own.
    struct Scene {
        places: Arc<Places>,
        began: Instant,
        taken: Vec<Place>,
    }

    impl Scene {
        fn set() -> Self {
            Self {
                places: Arc::default(),
                began: Instant::now(),
                taken: Vec::new(),
            }
        }

        fn count(&self) -> usize {
            self.places.counted.now()
        }

        fn at(&self, millis: u64) -> Instant {
            self.began + Duration::from_millis(millis)
        }

        /// Takes a place for the connection from this port at this time: a place for it, and the port of who went for
        /// it.
        fn comes(&self, port: u16, millis: u64) -> (Option<Place>, Option<u16>) {
            let gone = match self.count() < MAX {
                true => None,
                false => self.places.make_room(self.at(millis)),
            };
            let place = self.places.count(MAX).map(|counted| {
                let all = Count::default();
                let connection = ConnectionPermit::take((&all, &all), 9, &Arc::default()).unwrap();
                let peer = ([192, 0, 2, 1], port).into();
                self.places.take((connection, counted), peer, self.at(millis))
            });
            assert!(self.count() <= MAX);
            (place, gone.map(|peer| peer.port()))
        }

        /// Takes a place for one that stays and says nothing.
        fn stays(&mut self, port: u16, millis: u64) -> Newcomer {
            let (place, gone) = self.comes(port, millis);
            let Some(place) = place else {
                return Newcomer::Refused;
            };
            self.taken.push(place);
            gone.map_or(Newcomer::HasFreePlace, Newcomer::HasPlaceOf)
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Newcomer {
        Refused,
        HasFreePlace,
        /// Of the connection from this port, which had to go.
        HasPlaceOf(u16),
    }

    #[test]
    fn who_is_silent_for_longest_makes_room_and_there_are_never_more_than_places() {
        let mut scene = Scene::set();
        for port in [1, 2, 3] {
            assert_eq!(scene.stays(port, u64::from(port)), Newcomer::HasFreePlace);
        }
        assert_eq!(scene.stays(4, 1_000), Newcomer::Refused, "all are safe");
        for port in [1, 2, 3] {
            assert_eq!(scene.stays(10 + port, 2_000), Newcomer::HasPlaceOf(port));
        }
        assert_eq!(scene.stays(4, 2_999), Newcomer::Refused);
        assert_eq!(scene.stays(4, 3_000), Newcomer::HasPlaceOf(11));
        // Who has gone frees nothing when its task ends, too.
        scene.taken.drain(..4);
        assert_eq!(scene.count(), MAX);
        scene.taken.clear();
        assert_eq!(scene.count(), 0);
    }

    #[test]
    fn who_has_a_long_way_outlasts_a_flood_of_newcomers() {
        let mut scene = Scene::set();
        let (honest, _) = scene.comes(443, 0);
        let mut honest = honest.unwrap();
        let mut served = 0;
        for millis in 0..1_400 {
            if millis == 900 {
                honest.on_sent(scene.at(millis));
            }
            served += usize::from(scene.stays(1, millis) != Newcomer::Refused);
        }
        // Two places that change hands each second.
        assert_eq!(served, 4);
        assert!(honest.proved().is_some());
        assert_eq!(scene.count(), MAX - 1);
    }

    #[test]
    fn an_answer_counts_once() {
        let scene = Scene::set();
        let _others = [scene.comes(1, 500), scene.comes(2, 500)];
        let (place, _) = scene.comes(3, 0);
        let mut place = place.unwrap();
        place.on_sent(scene.at(0));
        place.on_sent(scene.at(900));
        assert_eq!(scene.comes(4, 1_000).1, Some(3));
        assert!(place.proved().is_none());
    }
}
