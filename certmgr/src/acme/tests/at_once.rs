//! How many orders are under way at once.

use std::sync::Barrier;

use super::scripted::Scripted;
use super::*;

/// A third order would have begun within this time.
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
            // No order gets on before there is another one beside it: the bound is reached.
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
    let shared = Shared::new(open(&ca.folder), Challenges::default(), 2);
    let client = Client::new(&ca.source(), &shared);
    let orders = (0..6).map(|number| {
        let host = format!("host{number}.example.com");
        let client = &client;
        async move {
            let _turn = client.turn().await;
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
