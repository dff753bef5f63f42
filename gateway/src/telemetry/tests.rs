use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_name_keeps_its_label_and_no_other_name_gets_it() {
    let metrics = Metrics::new(1);
    let (a, b) = (metrics.route("a"), metrics.route("b"));
    assert_ne!(a, b);
    assert_eq!(metrics.route("a"), a);
    assert_eq!((a.index(), a.name(), b.index(), b.name()), (0, "a", 1, "b"));
    assert_eq!(metrics.backend("b").index(), 0);
}

#[test]
fn rpcs_are_added_up_over_workers_by_route_backend_and_status() {
    let metrics = Metrics::new(2);
    let (one, two) = (metrics.worker(0), metrics.worker(1));
    let (route, other) = (metrics.route("r"), metrics.route("other"));
    let (old, new) = (metrics.backend("old"), metrics.backend("new"));
    for worker in [&one, &two] {
        worker.rpc_started(route);
        worker.rpc_started(route);
        worker.rpc_ended(route, old, 0, SECOND);
    }
    two.rpc_ended(route, new, 14, SECOND);
    two.rpc_started(other);
    two.rpc_ended(other, new, 200, SECOND);
    let totals = metrics.totals();
    let rpcs: Vec<_> = totals
        .rpcs
        .iter()
        .map(|r| (r.route, r.backend, r.status, r.count))
        .collect();
    assert_eq!(
        rpcs,
        [("r", "old", 0, 2), ("r", "new", 14, 1), ("other", "new", 2, 1)]
    );
    assert_eq!(totals.routes[0].active, 1);
    assert_eq!(totals.routes[0].took.count(), 3);
    assert_eq!(totals.routes[0].took.sum, 3 * SECOND);
    assert_eq!(totals.routes[0].took.counts.len(), HISTOGRAM_BOUNDS.len() + 1);
}

#[test]
fn labels_that_come_with_a_reload_are_counted_from_then_on() {
    let metrics = Metrics::new(1);
    let worker = metrics.worker(0);
    let backend = metrics.backend("b");
    for number in 0..200 {
        let route = metrics.route(&number.to_string());
        worker.rpc_started(route);
        worker.rpc_ended(route, backend, 0, SECOND);
    }
    let totals = metrics.totals();
    assert_eq!(totals.rpcs.len(), 200);
    assert!(totals.rpcs.iter().all(|rpc| rpc.count == 1));
}

#[test]
fn open_connections_are_reported_by_version_and_install_as_long_as_there_are_any() {
    let metrics = Metrics::new(2);
    let (one, two) = (metrics.worker(0), metrics.worker(1));
    one.connection_opened(TlsLabel::Tls13, 7);
    two.connection_opened(TlsLabel::Tls13, 7);
    two.connection_opened(TlsLabel::Tls12, 8);
    let open = |metrics: &Metrics| -> Vec<_> {
        metrics
            .totals()
            .connections
            .iter()
            .map(|c| (c.version, c.install, c.open))
            .collect()
    };
    assert_eq!(open(&metrics), [(TlsLabel::Tls12, 8, 1), (TlsLabel::Tls13, 7, 2)]);
    two.connection_gone(TlsLabel::Tls12, 8);
    one.connection_gone(TlsLabel::Tls13, 7);
    one.connection_gone(TlsLabel::Tls13, 7);
    assert_eq!(open(&metrics), [(TlsLabel::Tls13, 7, 1)]);
}

#[test]
fn handshakes_limits_and_backends_are_counted() {
    let metrics = Metrics::new(1);
    let worker = metrics.worker(0);
    worker.handshake_done(TlsLabel::Tls13, false, SECOND);
    worker.handshake_done(TlsLabel::Tls13, true, SECOND);
    worker.handshake_failed(HandshakeFailure::NoCommonAlpn);
    worker.limit_reached("zebra");
    worker.limit_reached("ant");
    worker.limit_reached("zebra");
    let backend = metrics.backend("b");
    worker.backend_connected(backend);
    worker.backend_connected(backend);
    worker.backend_failed(backend);
    worker.backend_closed(backend);
    worker.connection_accepted();
    worker.held_bytes(77);
    worker.turn();
    let totals = metrics.totals();
    let tls13 = totals
        .handshakes
        .iter()
        .find(|h| h.version == TlsLabel::Tls13)
        .unwrap();
    assert_eq!((tls13.full, tls13.resumed, tls13.took.count()), (1, 1, 2));
    let failed: Vec<_> = totals
        .handshake_failures
        .iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(failed, [&(HandshakeFailure::NoCommonAlpn, 1)]);
    assert_eq!(totals.limits, [("ant", 1), ("zebra", 2)]);
    let b = &totals.backends[0];
    assert_eq!((b.connected, b.failed, b.closed, b.open), (2, 1, 1, 1));
    assert_eq!(
        (totals.connections_accepted, totals.held_bytes, totals.turns),
        (1, 77, 1)
    );
}

#[test]
fn a_worker_that_starts_again_keeps_its_counts_and_nothing_open() {
    let metrics = Metrics::new(1);
    let worker = metrics.worker(0);
    let (route, backend) = (metrics.route("r"), metrics.backend("b"));
    worker.connection_accepted();
    worker.connection_opened(TlsLabel::Tls13, 1);
    worker.rpc_started(route);
    worker.backend_connected(backend);
    worker.held_bytes(5);
    let again = metrics.worker(0);
    again.rpc_started(route);
    let totals = metrics.totals();
    assert_eq!(totals.worker_restarts, 1);
    assert_eq!((totals.connections_accepted, totals.connections_closed), (1, 1));
    assert!(totals.connections.is_empty());
    assert_eq!(totals.routes[0].active, 1);
    assert_eq!((totals.backends[0].connected, totals.backends[0].open), (1, 0));
    assert_eq!(totals.held_bytes, 0);
}

#[test]
fn classes_and_versions_stand_at_their_index() {
    for (index, class) in HandshakeFailure::ALL.into_iter().enumerate() {
        assert_eq!(class.index(), index, "{}", class.name());
    }
    for (index, version) in TlsLabel::ALL.into_iter().enumerate() {
        assert_eq!(version.index(), index, "{}", version.name());
    }
}

#[test]
fn statuses_have_the_names_of_grpc() {
    assert_eq!(grpc_status_name(0), "OK");
    assert_eq!(grpc_status_name(14), "UNAVAILABLE");
    assert_eq!(grpc_status_name(16), "UNAUTHENTICATED");
    assert_eq!(grpc_status_name(17), "UNKNOWN");
}

#[test]
fn silence_is_the_time_since_any_worker_has_run() {
    let metrics = Metrics::new(2);
    let before = metrics.age();
    assert!(metrics.silence() >= before);
    // One of them is enough.
    metrics.counters(1).alive(metrics.age() + Duration::from_secs(1));
    assert_eq!(metrics.silence(), Duration::ZERO);
}
