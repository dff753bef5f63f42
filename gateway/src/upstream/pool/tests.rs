use std::time::{Duration, Instant};

use super::{Choice, FIRST_BACKOFF, MAX_BACKOFF, MAX_CONNECTIONS, Pool, backoff};
use crate::rpc::status::Refusal;
use crate::settings::{self, EndpointAddress};
use crate::snapshot::Backend;
use crate::telemetry::Metrics;
use crate::worker::slab::{Key, Slab};
use std::net::SocketAddr;
use std::sync::Arc;

const NONE_TAKES: fn(Key) -> bool = |_| false;

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
    Pool::new(Arc::new(Backend::new(&settings, &Metrics::new(1))))
}

fn keys<const N: usize>() -> [Key; N] {
    let mut slab = Slab::new();
    std::array::from_fn(|_| slab.insert(()))
}

#[test]
fn endpoints_take_turns_and_are_connected_lazily() {
    let mut pool = pool(&[1, 2]);
    let now = Instant::now();
    let first = pool.choose(now, 10, NONE_TAKES);
    let second = pool.choose(now, 10, NONE_TAKES);
    assert_eq!(
        [first, second],
        [Choice::Connect(address(2)), Choice::Connect(address(1))]
    );
}

#[test]
fn while_one_connects_others_wait_for_it_up_to_the_limit() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let [a, b] = keys();
    pool.connecting(address(1));
    pool.wait(address(1), a);
    assert_eq!(pool.choose(now, 2, NONE_TAKES), Choice::Wait(address(1)));
    pool.wait(address(1), b);
    assert_eq!(pool.choose(now, 2, NONE_TAKES), Choice::Full);
    assert_eq!(pool.next_waiting(address(1)), Some(a));
}

#[test]
fn a_full_connection_leads_to_another_until_there_are_too_many() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    let connections: [Key; MAX_CONNECTIONS] = keys();
    pool.connected(address(1), connections[0]);
    assert_eq!(
        pool.choose(now, 10, |key| key == connections[0]),
        Choice::Ready(connections[0])
    );
    assert_eq!(pool.choose(now, 10, NONE_TAKES), Choice::Connect(address(1)));
    for connection in &connections[1..] {
        pool.connected(address(1), *connection);
    }
    assert_eq!(pool.choose(now, 10, NONE_TAKES), Choice::Wait(address(1)));
}

#[test]
fn an_endpoint_that_refused_is_left_out_for_a_pause_and_those_who_waited_go_on() {
    let mut pool = pool(&[1, 2]);
    let now = Instant::now();
    let [waiting, connection] = keys();
    pool.connecting(address(2));
    pool.wait(address(2), waiting);
    assert_eq!(pool.failed(address(2), now, 500), [waiting]);
    pool.connected(address(1), connection);
    for _ in 0..3 {
        assert_eq!(pool.choose(now, 10, |_| true), Choice::Ready(connection));
    }
    let later = now + FIRST_BACKOFF * 2;
    let offered: Vec<_> = (0..2).map(|_| pool.choose(later, 10, |_| true)).collect();
    assert!(offered.contains(&Choice::Connect(address(2))), "{offered:?}");
}

#[test]
fn with_every_endpoint_paused_the_refusal_says_why() {
    let mut pool = pool(&[1]);
    let now = Instant::now();
    pool.failed(address(1), now, 0);
    assert_eq!(pool.choose(now, 10, NONE_TAKES), Choice::Nothing);
    assert_eq!(
        pool.why_nothing(),
        Refusal::ConnectFailed {
            backend: "guide".into()
        }
    );
}

#[test]
fn an_endpoint_that_discovery_lost_gets_nothing_new_and_its_connection_is_left_over() {
    let mut pool = pool(&[1]);
    let [connection] = keys();
    pool.connected(address(1), connection);
    pool.backend.addresses.store(Arc::new(vec![address(2)]));
    pool.follow_addresses();
    assert_eq!(pool.leftovers().collect::<Vec<_>>(), [connection]);
    for _ in 0..2 {
        assert_eq!(
            pool.choose(Instant::now(), 10, |_| true),
            Choice::Connect(address(2))
        );
    }
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
