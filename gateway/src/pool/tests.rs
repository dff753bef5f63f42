use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{FIRST_BACKOFF, Left, MAX_BACKOFF, MAX_CONNECTIONS, Pick, Pool, backoff};
use crate::pool::share::{EndpointId, ShareRequest, Shares, Streams};
use crate::pool::spoken::Opening;
use crate::settings::{self, EndpointAddress};
use crate::slab::{Key, Slab};
use crate::snapshot::RunningBackend;
use crate::status::Refusal;
use crate::telemetry::Metrics;

/// Connections with streams for everybody.
const WIDE: fn(Key) -> Streams = |_| Streams {
    available: 1_000,
    limit: u32::MAX,
};
/// Connections of two streams, both of which are taken.
const FULL: fn(Key) -> Streams = |_| Streams {
    available: 0,
    limit: 2,
};

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn pool(ports: &[u16]) -> Pool {
    let settings = settings::Backend {
        name: "guide".into(),
        endpoints: ports
            .iter()
            .map(|port| EndpointAddress::Address(address(*port)))
            .collect(),
        connect_timeout: Duration::from_secs(1),
        tcp_user_timeout: Duration::ZERO,
    };
    Pool::new(Arc::new(RunningBackend::new(&settings, &Metrics::new(1))))
}

fn keys<const N: usize>() -> [Key; N] {
    let mut slab = Slab::new();
    std::array::from_fn(|_| slab.insert(()))
}

/// A client that holds nothing anywhere.
fn modest(shares: &Shares) -> ShareRequest<'_> {
    ShareRequest { streams: 1, shares }
}

fn pick(pool: &mut Pool, now: Instant, streams: impl Fn(Key) -> Streams) -> Pick {
    pool.pick(now, modest(&Shares::default()), streams)
}

/// A connection by all its stages.
fn connect(pool: &mut Pool, port: u16, key: Key) -> bool {
    pool.connecting(address(port));
    pool.greeting(address(port), key);
    pool.greeted(address(port), key).unwrap()
}

#[test]
fn with_no_endpoint_ready_all_are_connected_and_rpcs_wait() {
    let mut pool = pool(&[1, 2]);
    let now = Instant::now();
    assert_eq!(pick(&mut pool, now, WIDE), Pick::Wait);
    assert_eq!(pool.wanting(now, WIDE), [address(1), address(2)]);
    pool.connecting(address(1));
    pool.connecting(address(2));
    assert_eq!(pick(&mut pool, now, WIDE), Pick::Wait);
    assert!(pool.wanting(now, WIDE).is_empty(), "one attempt at a time");
}

#[test]
fn ready_endpoints_take_turns_and_the_others_are_connected_beside_them() {
    let mut pool = pool(&[1, 2, 3]);
    let now = Instant::now();
    let [one, two, three] = keys();
    connect(&mut pool, 1, one);
    connect(&mut pool, 2, two);
    let picked = [(); 4].map(|()| pick(&mut pool, now, WIDE));
    assert_eq!(picked.iter().filter(|p| **p == Pick::Ready(one)).count(), 2);
    assert_eq!(picked.iter().filter(|p| **p == Pick::Ready(two)).count(), 2);
    assert!(pool.has_passed_over());
    assert_eq!(pool.wanting(now, WIDE), [address(3)]);
    pool.connecting(address(3));
    pool.greeting(address(3), three);
    for _ in 0..3 {
        assert_ne!(
            pick(&mut pool, now, WIDE),
            Pick::Ready(three),
            "its SETTINGS have not come"
        );
    }
    assert!(!pool.has_passed_over());
    assert_eq!(pool.greeted(address(3), three), Some(false));
    assert_eq!(pool.greeted(address(3), three), None, "they come again");
}

#[test]
fn an_endpoint_that_failed_is_left_alone_for_a_pause_that_only_settings_end() {
    let mut pool = pool(&[1]);
    let mut now = Instant::now();
    let [key, fine] = keys();
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        assert_eq!(pool.wanting(now, WIDE), [address(1)]);
        pool.connecting(address(1));
        // TCP is well, and then nothing comes of it.
        pool.greeting(address(1), key);
        assert_eq!(pool.leave(address(1), key), Left::Attempt);
        pool.failed(address(1), None, now, 500);
        assert_eq!(pool.leave(address(1), key), Left::Nothing);
        assert!(pool.wanting(now + last, WIDE).is_empty(), "the pauses grow");
        assert_eq!(pick(&mut pool, now + last, WIDE), Pick::Nothing);
        (now, last) = (now + MAX_BACKOFF * 2, last + FIRST_BACKOFF);
    }
    assert!(connect(&mut pool, 1, fine), "it had been down");
    assert_eq!(pick(&mut pool, now, WIDE), Pick::Ready(fine));
    assert_eq!(pool.leave(address(1), fine), Left::Ready);
    assert_eq!(pool.wanting(now, WIDE), [address(1)], "without a pause");
}

#[test]
fn those_who_wait_do_so_while_any_endpoint_is_being_tried() {
    let mut pool = pool(&[1, 2]);
    let now = Instant::now();
    let [client, relay] = keys();
    pool.connecting(address(1));
    pool.connecting(address(2));
    assert!(pool.wait(client, relay, now, 10));
    pool.failed(address(1), None, now, 0);
    assert!(!pool.is_hopeless());
    pool.failed(address(2), None, now, 0);
    assert!(pool.is_hopeless());
    let backend = "guide".into();
    assert_eq!(pool.why_nothing(), Refusal::ConnectFailed { backend });
    pool.forget_waiting(client, relay);
    assert!(!pool.is_hopeless());
}

#[test]
fn the_refusal_names_what_an_endpoint_speaks() {
    let mut pool = pool(&[1]);
    let mut opening = Opening::default();
    opening.hear(b"HTTP/1.1 400 Bad Request");
    pool.failed(address(1), opening.spoken(), Instant::now(), 0);
    let (backend, instead) = ("guide".into(), Some("HTTP/1.1"));
    assert_eq!(pool.why_nothing(), Refusal::NotHttp2 { backend, instead });
}

#[test]
fn a_waiting_rpc_goes_to_whichever_endpoint_is_ready_first() {
    let mut pool = pool(&[1, 2]);
    let now = Instant::now();
    let [client, a, b, one, two] = keys();
    let shares = Shares::default();
    let asking = |_| Some(modest(&shares));
    pool.connecting(address(1));
    pool.wait(client, a, now, 10);
    pool.wait(client, b, now, 10);
    assert!(pool.next_waiting((address(1), one), now, asking, WIDE).is_none());
    connect(&mut pool, 2, two);
    let next = |pool: &mut Pool| pool.next_waiting((address(2), two), now, asking, WIDE);
    let (owner, first) = next(&mut pool).unwrap();
    assert_eq!((owner, first.relay), (client, a));
    pool.put_back(owner, first);
    assert_eq!(
        [(); 3].map(|()| next(&mut pool).map(|(_, w)| w.relay)),
        [Some(a), Some(b), None]
    );
}

#[test]
fn a_full_endpoint_gets_another_connection_if_rpcs_wait_until_there_are_too_many() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let connections: [Key; MAX_CONNECTIONS] = keys();
    let [client, relay] = keys();
    connect(&mut pool, 1, connections[0]);
    assert_eq!(pick(&mut pool, now, FULL), Pick::Wait);
    assert!(pool.wanting(now, FULL).is_empty(), "nobody waits");
    pool.wait(client, relay, now, 10);
    for connection in &connections[1..] {
        assert_eq!(pool.wanting(now, FULL), [address(1)]);
        assert!(pool.wanting(now, WIDE).is_empty(), "there are streams");
        connect(&mut pool, 1, *connection);
    }
    assert!(pool.wanting(now, FULL).is_empty());
}

#[test]
fn who_allows_no_streams_is_not_asked_by_more_connections() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [client, relay, connection] = keys();
    connect(&mut pool, 1, connection);
    assert_eq!(pick(&mut pool, now, |_| Streams::default()), Pick::Wait);
    pool.wait(client, relay, now, 10);
    assert!(pool.wanting(now, |_| Streams::default()).is_empty());
    assert!(!pool.is_hopeless(), "the limit may be raised");
}

#[test]
fn a_client_with_many_streams_leaves_the_last_ones_to_others() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let connections: [Key; MAX_CONNECTIONS] = keys();
    for connection in connections {
        connect(&mut pool, 1, connection);
    }
    let id = pool.id_of(address(1)).unwrap();
    // 11 of 160, ten of which are for those who have none.
    let few_left = |key| Streams {
        available: match key {
            key if key == connections[3] => 10,
            key if key == connections[4] => 1,
            _ => 0,
        },
        limit: 10,
    };
    let holding = |streams: u32, at: EndpointId| {
        let mut shares = Shares::default();
        (0..streams).for_each(|_| shares.add(at));
        shares
    };
    let mut picked = |streams, shares: &Shares| pool.pick(now, ShareRequest { streams, shares }, few_left);
    let ready = Pick::Ready(connections[3]);
    assert_eq!(picked(8, &holding(7, id)), ready);
    assert_eq!(picked(9, &holding(8, id)), Pick::Wait);
    let elsewhere = EndpointId { number: 99, ..id };
    assert_eq!(
        picked(200, &holding(199, elsewhere)),
        ready,
        "its streams are elsewhere"
    );
}

#[test]
fn who_has_none_starves_only_where_all_are_taken_and_none_was_given() {
    let mut pool = pool(&[1]);
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let connections: [Key; MAX_CONNECTIONS] = keys();
    let [client, other, relay] = keys();
    let (none, mut some) = (Shares::default(), Shares::default());
    let asking = |shares: &'static Shares| move |_| Some(ShareRequest { streams: 9, shares });
    for connection in &connections[..15] {
        connect(&mut pool, 1, *connection);
    }
    pool.wait(client, relay, now, 10);
    assert!(pool.taken(now, FULL).is_empty(), "another connection can be made");
    connect(&mut pool, 1, connections[15]);
    let id = pool.id_of(address(1)).unwrap();
    assert_eq!(pool.taken(now, FULL), [id]);
    assert!(pool.taken(now, WIDE).is_empty());
    some.add(id);
    let (none, some): (&'static Shares, &'static Shares) =
        (Box::leak(Box::new(none)), Box::leak(Box::new(some)));
    let starving = |pool: &Pool, at, shares| pool.starving(at, second, asking(shares), 5);
    assert_eq!(starving(&pool, now, none), 0, "it has just come");
    assert_eq!(starving(&pool, now + second, none), 1);
    assert_eq!(starving(&pool, now + second, some), 0, "it has one");
    // Others end: its turn comes.
    pool.wait(other, relay, now, 10);
    let place = (address(1), connections[0]);
    pool.next_waiting(place, now + second, asking(none), WIDE)
        .unwrap();
    assert_eq!(starving(&pool, now + second, none), 0);
    assert_eq!(starving(&pool, now + 2 * second, none), 1);
}

#[test]
fn connections_that_can_still_be_made_count_as_free() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [connection] = keys();
    connect(&mut pool, 1, connection);
    let mut shares = Shares::default();
    let id = pool.id_of(address(1)).unwrap();
    (0..99).for_each(|_| shares.add(id));
    let one_left = |_| Streams {
        available: 1,
        limit: 100,
    };
    let asking = ShareRequest {
        streams: 100,
        shares: &shares,
    };
    assert_eq!(pool.pick(now, asking, one_left), Pick::Ready(connection));
}

#[test]
fn an_endpoint_that_does_nothing_but_say_goodbye_gets_a_pause() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [first, second] = keys();
    for (connection, pause) in [(first, false), (second, true)] {
        connect(&mut pool, 1, connection);
        pool.was_useless(address(1), now, 0);
        pool.leave(address(1), connection);
        assert_eq!(pool.wanting(now, WIDE).is_empty(), pause);
    }
    assert_eq!(pool.wanting(now + MAX_BACKOFF, WIDE), [address(1)]);
    pool.was_useful(address(1));
    pool.was_useless(address(1), now + MAX_BACKOFF, 0);
    assert_eq!(pool.wanting(now + MAX_BACKOFF, WIDE), [address(1)]);
}

#[test]
fn an_endpoint_that_discovery_lost_gets_nothing_new_and_its_connection_is_left_over() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [connection] = keys();
    connect(&mut pool, 1, connection);
    pool.backend.addresses.store(Arc::new(vec![address(2)]));
    pool.apply_addresses();
    assert_eq!(pool.leftovers().collect::<Vec<_>>(), [connection]);
    assert_eq!(pick(&mut pool, now, WIDE), Pick::Wait);
    assert_eq!(pool.wanting(now, WIDE), [address(2)]);
}

#[test]
fn a_retired_pool_stays_retired_whatever_discovery_says_until_its_backend_is_named_again() {
    let mut pool = pool(&[1]);
    let [connection] = keys();
    connect(&mut pool, 1, connection);
    pool.retire();
    pool.apply_addresses();
    assert_eq!(pool.leftovers().collect::<Vec<_>>(), [connection]);
    assert_eq!(pick(&mut pool, Instant::now(), WIDE), Pick::Nothing);
    pool.apply_backend(pool.backend.clone());
    assert_eq!(pool.leftovers().count(), 0);
    assert_eq!(pick(&mut pool, Instant::now(), WIDE), Pick::Ready(connection));
}

#[test]
fn who_has_waited_for_an_endpoint_that_is_gone_is_served_by_it_if_there_is_no_other() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [client, relay, connection] = keys();
    let shares = Shares::default();
    connect(&mut pool, 1, connection);
    pool.wait(client, relay, now, 10);
    pool.retire();
    assert!(!pool.is_hopeless());
    assert_eq!(pool.leftovers().count(), 0);
    assert_eq!(pick(&mut pool, now, WIDE), Pick::Nothing, "nobody new");
    let served = pool.next_waiting((address(1), connection), now, |_| Some(modest(&shares)), WIDE);
    assert_eq!(served.map(|(_, waiter)| waiter.relay), Some(relay));
    assert_eq!(pool.leftovers().collect::<Vec<_>>(), [connection]);
}

#[test]
fn the_pause_doubles_to_its_bound_with_a_quarter_of_jitter() {
    for failures in 0..40 {
        for random in [0, 499, 999, u64::MAX] {
            let pause = backoff(failures, random);
            assert!(
                pause >= FIRST_BACKOFF.mul_f64(0.75) && pause <= MAX_BACKOFF.mul_f64(1.25),
                "{pause:?}"
            );
        }
    }
    assert!(backoff(0, 500) < backoff(1, 500) && backoff(1, 500) < backoff(2, 500));
}
