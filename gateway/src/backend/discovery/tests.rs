use std::collections::VecDeque;

use super::book::MAX_ADDRESSES;
use super::*;
use crate::telemetry::Metrics;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn name(host: &str) -> EndpointAddress {
    EndpointAddress::Name {
        host: host.to_owned(),
        port: 1,
    }
}

fn fixed(text: &str) -> EndpointAddress {
    EndpointAddress::Address(address(text))
}

fn key(host: &str) -> Name {
    (host.to_owned(), 1)
}

fn failure() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

mod book_keeping {
    use super::*;

    #[test]
    fn addresses_stand_in_the_order_of_endpoints_each_once() {
        let mut book = Book::default();
        let endpoints = [
            fixed("10.0.0.9:1"),
            name("a"),
            name("unknown"),
            name("b"),
            fixed("10.0.0.9:1"),
        ];
        assert_eq!(book.addresses(&endpoints), [address("10.0.0.9:1")]);
        book.apply_lookup(
            &key("a"),
            Ok(vec![address("[2001:db8::1]:1"), address("10.0.0.1:1")]),
        );
        book.apply_lookup(&key("b"), Ok(vec![address("10.0.0.1:1"), address("10.0.0.0:1")]));
        let expected = ["10.0.0.9:1", "10.0.0.1:1", "[2001:db8::1]:1", "10.0.0.0:1"].map(address);
        assert_eq!(book.addresses(&endpoints), expected);
    }

    #[test]
    fn another_order_or_a_doublet_is_no_change() {
        let mut book = Book::default();
        let (a, b) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
        assert!(matches!(
            book.apply_lookup(&key("a"), Ok(vec![a, b])),
            Novelty::Changed
        ));
        assert!(matches!(
            book.apply_lookup(&key("a"), Ok(vec![b, a, b])),
            Novelty::Same
        ));
        assert!(matches!(
            book.apply_lookup(&key("a"), Ok(vec![b])),
            Novelty::Changed
        ));
    }

    #[test]
    fn failures_and_empty_answers_keep_what_was_known() {
        let mut book = Book::default();
        book.apply_lookup(&key("a"), Ok(vec![address("10.0.0.1:1")]));
        assert!(matches!(
            book.apply_lookup(&key("a"), Err(failure())),
            Novelty::Failed(_)
        ));
        assert!(matches!(
            book.apply_lookup(&key("a"), Ok(vec![])),
            Novelty::Failed(_)
        ));
        assert_eq!(book.addresses(&[name("a")]), [address("10.0.0.1:1")]);
    }

    #[test]
    fn a_set_has_a_bound() {
        let mut book = Book::default();
        let many = |net: u8| {
            let addresses = (0..1000_u16).map(|n| SocketAddr::from(([10, net, (n >> 8) as u8, n as u8], 1)));
            addresses.collect::<Vec<_>>()
        };
        book.apply_lookup(&key("a"), Ok(many(1)));
        book.apply_lookup(&key("b"), Ok(many(2)));
        assert_eq!(book.addresses(&[name("a"), name("b")]).len(), MAX_ADDRESSES);
    }

    #[test]
    fn jitter_is_a_tenth_either_way() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let pause = book::jittered(Duration::from_secs(30), random);
            assert!(pause >= Duration::from_millis(26_999) && pause <= Duration::from_millis(33_001));
        }
        assert!(book::jittered(RESOLVE_INTERVAL, 0) < book::jittered(RESOLVE_INTERVAL, u64::MAX));
    }
}

/// Answers from a script, the last one for ever; counts questions.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<HashMap<String, (usize, Answers)>>>);

/// `None` is a failure.
type Answers = VecDeque<Option<Vec<SocketAddr>>>;

impl Script {
    fn answers(self, host: &str, answers: &[Option<&[&str]>]) -> Self {
        let parsed = |texts: &&[&str]| texts.iter().copied().map(address).collect();
        let answers = answers.iter().map(|answer| answer.as_ref().map(parsed)).collect();
        self.0.lock().unwrap().insert(host.to_owned(), (0, answers));
        self
    }

    fn asked(&self, host: &str) -> usize {
        self.0.lock().unwrap()[host].0
    }

    fn discovery(&self) -> Discovery {
        let script = self.0.clone();
        Discovery::with(Arc::new(move |(host, _)| {
            let script = script.clone();
            Box::pin(async move {
                let mut script = script.lock().unwrap();
                let (asked, answers) = script.get_mut(&host).unwrap();
                *asked += 1;
                let answer = if answers.len() > 1 {
                    answers.pop_front()
                } else {
                    answers.front().cloned()
                };
                answer.flatten().ok_or_else(failure)
            })
        }))
    }
}

fn backend(metrics: &Metrics, name: &str, endpoints: Vec<EndpointAddress>) -> Arc<RunningBackend> {
    let settings = crate::settings::Backend {
        name: name.to_owned(),
        endpoints,
        connect_timeout: Duration::from_secs(5),
        tcp_user_timeout: Duration::ZERO,
    };
    Arc::new(RunningBackend::new(&settings, metrics))
}

fn addresses(backend: &RunningBackend) -> Vec<String> {
    backend.addresses.load().iter().map(ToString::to_string).collect()
}

/// Lets tasks run, then lets the paused clock go on.
async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_at_once_and_every_30_s() {
    let script = Script::default().answers("a", &[Some(&["10.0.0.1:1"]), Some(&["10.0.0.2:1"])]);
    let metrics = Metrics::new(1);
    let backend = backend(&metrics, "b", vec![fixed("10.9.9.9:1"), name("a")]);
    let discovery = script.discovery();
    discovery.set_backends(std::slice::from_ref(&backend));
    assert_eq!(addresses(&backend), ["10.9.9.9:1"]);
    after(1).await;
    assert_eq!(addresses(&backend), ["10.9.9.9:1", "10.0.0.1:1"]);
    after(25).await;
    assert_eq!(addresses(&backend), ["10.9.9.9:1", "10.0.0.1:1"]);
    after(8).await;
    assert_eq!(addresses(&backend), ["10.9.9.9:1", "10.0.0.2:1"]);
    assert_eq!(script.asked("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_without_address_is_asked_for_again_soon() {
    let script = Script::default().answers("a", &[None, None, None, Some(&["10.0.0.1:1"])]);
    let metrics = Metrics::new(1);
    let backend = backend(&metrics, "b", vec![name("a")]);
    let discovery = script.discovery();
    discovery.set_backends(std::slice::from_ref(&backend));
    after(9).await;
    assert_eq!(addresses(&backend), ["10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_addresses_the_very_same_object() {
    let script = Script::default().answers("a", &[Some(&["10.0.0.1:1"]), None]);
    let metrics = Metrics::new(1);
    let backend = backend(&metrics, "b", vec![name("a")]);
    let discovery = script.discovery();
    discovery.set_backends(std::slice::from_ref(&backend));
    after(1).await;
    let before = backend.addresses.load_full();
    after(200).await;
    assert!(script.asked("a") > 5);
    assert!(Arc::ptr_eq(&before, &backend.addresses.load_full()));
    assert_eq!(addresses(&backend), ["10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_has_failed() {
    let metrics = Metrics::new(1);
    let backend = backend(&metrics, "b", vec![name("a")]);
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let discovery = Discovery::with(Arc::new(move |_| {
        *count.lock().unwrap() += 1;
        Box::pin(std::future::pending())
    }));
    discovery.set_backends(std::slice::from_ref(&backend));
    after(60).await;
    assert!(*asked.lock().unwrap() >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_changed_backend_starts_with_what_is_known_of_its_names() {
    let script = Script::default()
        .answers("a", &[Some(&["10.0.0.1:1"])])
        .answers("gone", &[None]);
    let metrics = Metrics::new(1);
    let before = [backend(&metrics, "b", vec![name("a"), name("gone")])];
    let discovery = script.discovery();
    discovery.set_backends(&before);
    after(100).await;
    let after_reload = [backend(&metrics, "b", vec![fixed("10.9.9.9:1"), name("a")])];
    let (asked, gone) = (script.asked("a"), script.asked("gone"));
    discovery.set_backends(&after_reload);
    assert_eq!(addresses(&after_reload[0]), ["10.9.9.9:1", "10.0.0.1:1"]);
    after(100).await;
    assert!(script.asked("a") > asked, "is asked for as before");
    assert_eq!(script.asked("gone"), gone, "is not asked for any more");
}

#[tokio::test(start_paused = true)]
async fn it_is_settled_once_every_name_has_had_an_answer_good_or_bad() {
    let script = Script::default()
        .answers("a", &[Some(&["10.0.0.1:1"])])
        .answers("bad", &[None]);
    let metrics = Metrics::new(1);
    let discovery = script.discovery();
    discovery.settled().await;
    let backend = backend(&metrics, "b", vec![name("a"), name("bad")]);
    discovery.set_backends(std::slice::from_ref(&backend));
    assert!(addresses(&backend).is_empty());
    discovery.settled().await;
    assert_eq!(addresses(&backend), ["10.0.0.1:1"]);
    assert_eq!((script.asked("a"), script.asked("bad")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_after_a_drop() {
    let script = Script::default().answers("a", &[Some(&["10.0.0.1:1"])]);
    let metrics = Metrics::new(1);
    let backend = backend(&metrics, "b", vec![name("a")]);
    let discovery = script.discovery();
    discovery.set_backends(std::slice::from_ref(&backend));
    after(1).await;
    drop(discovery);
    after(300).await;
    assert_eq!(script.asked("a"), 1);
}

#[tokio::test]
async fn the_system_resolves_localhost() {
    let found = ask_system(("localhost".to_owned(), 7)).await.unwrap();
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 7)
    );
    assert!(!found.is_empty());
}
