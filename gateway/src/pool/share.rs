//! The sharing of streams among clients, where an endpoint has few of them.
//!
//! The rule is that of buffers with a dynamic threshold (Choudhury and Hahne, 1998): nobody is given more than
//! [`TIMES_FREE`] times what is then still free, and some are kept back for those who have none. A single client gets
//! nearly all, many get alike, and there is something left for who comes next. Where those who came one after the other
//! have taken the last ones nevertheless, the rule has no remedy: the worker takes one back (`Worker::feed_starving`).

/// A client's connection may hold this many times as many of the places as are still free.
const TIMES_FREE: u64 = 8;
/// One place in so many, at least one, is for clients that hold none.
const KEPT_BACK: u64 = 16;
/// An endpoint that allows this many streams on a connection is not short of them, and nothing is counted.
const PLENTY: u32 = 1 << 16;

/// Names an endpoint for as long as the worker lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointId {
    pub(crate) pool: u32,
    pub(crate) number: u32,
}

/// Streams that a backend connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streams {
    /// The number that may be opened now.
    pub(crate) available: u32,
    /// The number that may be open at once.
    pub(crate) limit: u32,
}

impl Streams {
    /// `true` if they must be counted, so that everybody gets a share.
    pub(crate) fn are_few(self) -> bool {
        self.limit < PLENTY
    }
}

/// Streams that one client's connection holds at endpoints which have few, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Shares(Vec<(EndpointId, u32)>);

impl Shares {
    pub(crate) fn at(&self, endpoint: EndpointId) -> u32 {
        let found = self.0.iter().find(|(known, _)| *known == endpoint);
        found.map_or(0, |(_, streams)| *streams)
    }

    pub(crate) fn add(&mut self, endpoint: EndpointId) {
        match self.0.iter_mut().find(|(known, _)| *known == endpoint) {
            Some((_, streams)) => *streams += 1,
            None => self.0.push((endpoint, 1)),
        }
    }

    pub(crate) fn remove(&mut self, endpoint: EndpointId) {
        let Some(position) = self.0.iter().position(|(known, _)| *known == endpoint) else {
            return debug_assert!(false, "a share that is given back was taken");
        };
        if let Some((_, streams)) = self.0.get_mut(position) {
            *streams -= 1;
            if *streams == 0 {
                self.0.swap_remove(position);
            }
        }
    }
}

/// A client's connection that asks for a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareRequest<'a> {
    /// Its own streams, more of which than these it cannot hold anywhere.
    pub(crate) streams: u32,
    pub(crate) shares: &'a Shares,
}

/// `true` if somebody who uses `used` of `places` may have one more of the `free` ones.
pub(crate) fn may_have_another(used: u64, free: u64, places: u64) -> bool {
    let kept_back = (places / KEPT_BACK).max(1);
    free > 0 && (used == 0 || used < TIMES_FREE.saturating_mul(free.saturating_sub(kept_back)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: u32) -> EndpointId {
        EndpointId { pool: 0, number }
    }

    /// The places that are left after all of these have taken as much as they may.
    fn left_by(clients: usize, places: u64) -> (u64, Vec<u64>) {
        let (mut free, mut used) = (places, vec![0; clients]);
        loop {
            let before = free;
            for used in &mut used {
                if may_have_another(*used, free, places) {
                    (*used, free) = (*used + 1, free - 1);
                }
            }
            if free == before {
                return (free, used);
            }
        }
    }

    #[test]
    fn one_client_gets_nearly_all() {
        assert_eq!(left_by(1, 1_600), (266, vec![1_334]));
        assert_eq!(left_by(1, 1), (0, vec![1]));
        assert_eq!(left_by(1, 2), (1, vec![1]));
    }

    #[test]
    fn many_get_alike_and_one_place_is_left_for_who_has_none() {
        for clients in 2..=160 {
            let (free, used) = left_by(clients, 160);
            let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
            assert!(most - least <= 1, "{clients}: {used:?}");
            assert!(free >= 1 || *most == 1, "{clients}: {free} left, {used:?}");
            assert!(
                *most == 1 || *most <= 8 * free,
                "{clients}: {free} left, {used:?}"
            );
        }
    }

    #[test]
    fn those_who_come_one_after_the_other_leave_something_to_many_that_hold_none() {
        let (mut free, places) = (320, 320);
        let mut clients = 0;
        while free > 0 {
            let mut used = 0;
            while may_have_another(used, free, places) {
                (used, free) = (used + 1, free - 1);
            }
            clients += 1;
        }
        assert!(clients > 20, "{clients}");
    }

    #[test]
    fn shares_are_counted_by_endpoint_and_forgotten_at_zero() {
        let mut shares = Shares::default();
        for number in [1, 2, 1] {
            shares.add(endpoint(number));
        }
        assert_eq!([1, 2, 3].map(|number| shares.at(endpoint(number))), [2, 1, 0]);
        for number in [1, 1] {
            shares.remove(endpoint(number));
        }
        assert_eq!((shares.at(endpoint(1)), shares.0.len()), (0, 1));
    }
}
