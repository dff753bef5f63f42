//! Number of orders that are in progress at once.

use std::sync::Barrier;

use super::scripted::Scripted;
use super::*;

/// Time within which a third order would have begun.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn as_many_orders_as_allowed_are_under_way_at_once_and_no_more() {
    let (under_way, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (two, highest) = (Barrier::new(2), Arc::clone(&most));
    let ca = Scripted::start(move |asked| {
        match asked.path.as_str() {
            "/new-order" => {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                highest.fetch_max(now, Ordering::SeqCst);
            }
            // No order goes on before there is another one beside it: the bound is reached.
            "/finalize" => {
                two.wait();
                std::thread::sleep(LONG_ENOUGH);
            }
            "/certificate" => {
                under_way.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        None
    });
    let shared = shared(open(&ca.folder), Challenges::default(), 2);
    let client = Client::new(&ca.source(), &shared);
    let orders = (0..6).map(|number| {
        let host = format!("host{number}.example.com");
        let client = &client;
        async move {
            let _permit = client.order_permit().await;
            client.issue(&request(&host, &[&host])).await.map(drop)
        }
    });
    let ended = tokio::time::timeout(DEADLINE, futures_util::future::join_all(orders)).await;
    ended
        .expect("two orders are never under way at once")
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(ca.count("/new-order"), 6);
}

#[tokio::test]
async fn many_that_ask_when_to_renew_read_one_directory_and_come_one_after_the_other() {
    let ca = Scripted::start(|asked| {
        asked.path.starts_with("/renewal-info/").then(|| {
            let window = serde_json::json!({ "suggestedWindow": {
                "start": "2030-01-01T00:00:00Z", "end": "2030-01-01T00:00:00.5Z",
            } });
            (200, vec![("Retry-After", "21600")], window.to_string())
        })
    });
    let shared = shared(open(&ca.folder), Challenges::default(), 2);
    let client = Client::new(&ca.source(), &shared);
    let leaf = answers::a_leaf();
    let begun = tokio::time::Instant::now();
    let questions = (0..6).map(|_| client.renewal_info(0, &leaf));
    let answers = futures_util::future::join_all(questions).await;
    for answer in answers {
        // A window of half a second is valid.
        assert!(answer.unwrap().is_some_and(|info| info.window.0 == info.window.1));
    }
    assert_eq!(ca.count("/directory"), 1);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_window_that_ends_as_it_begins_is_no_answer() {
    // RFC 9773 §4.2.
    let ca = Scripted::start(|asked| {
        asked.path.starts_with("/renewal-info/").then(|| {
            let window = serde_json::json!({ "suggestedWindow": {
                "start": "2030-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z",
            } });
            (200, Vec::new(), window.to_string())
        })
    });
    let client = Client::new(&ca.source(), &shared(open(&ca.folder), Challenges::default(), 1));
    let error = client.renewal_info(0, &answers::a_leaf()).await.unwrap_err();
    assert!(error.text.contains("window"), "{error}");
}

#[tokio::test]
async fn a_ca_that_is_down_is_asked_for_its_directory_once_by_all_who_want_its_advice() {
    let ca = Scripted::answering("/directory", 503, &[], "");
    let shared = shared(open(&ca.folder), Challenges::default(), 2);
    let client = Client::new(&ca.source(), &shared);
    let leaf = answers::a_leaf();
    let questions = (0..4).map(|_| client.renewal_info(0, &leaf));
    for answer in futures_util::future::join_all(questions).await {
        assert_eq!(answer.unwrap_err().class, IssueFault::Unreachable);
    }
    assert_eq!(ca.count("/directory"), 1);
}
