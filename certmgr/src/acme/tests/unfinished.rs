//! Orders that a CA leaves half-done.

use serde_json::json;

use super::answers::problem;
use super::scripted::Scripted;
use super::*;

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_gone_on_with() {
    let finalized = AtomicUsize::new(0);
    let ca = Scripted::start(move |asked| match asked.path.as_str() {
        // The CA has acted; only its word did not get through.
        "/finalize" => {
            finalized.fetch_add(1, Ordering::SeqCst);
            Some((502, Vec::new(), String::new()))
        }
        "/order" if finalized.load(Ordering::SeqCst) > 0 => {
            let order = json!({
                "status": "valid", "finalize": "<ca>/finalize", "authorizations": [],
                "certificate": "<ca>/certificate",
            });
            Some((200, Vec::new(), order.to_string()))
        }
        _ => None,
    });
    let error = ca.issue().await.err().unwrap();
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    let issued = ca.issue().await.unwrap();
    assert!(issued.order.ends_with("/order"));
    assert_eq!((ca.count("/new-order"), ca.count("/finalize")), (1, 1));
}

#[tokio::test]
async fn an_order_that_is_not_there_any_more_makes_room_for_another_whatever_the_ca_says() {
    for (status, words) in [
        (404, problem("malformed", "no such order")),
        (404, String::new()),
        (410, String::new()),
    ] {
        let lost = AtomicUsize::new(0);
        let ca = Scripted::start(move |asked| match asked.path.as_str() {
            "/finalize" if lost.fetch_add(1, Ordering::SeqCst) == 0 => Some((502, Vec::new(), String::new())),
            "/order" => Some((status, Vec::new(), words.clone())),
            _ => None,
        });
        ca.issue().await.err().unwrap();
        ca.issue().await.unwrap();
        assert_eq!((ca.count("/new-order"), ca.count("/order")), (2, 1), "{status}");
    }
}

#[tokio::test]
async fn an_order_that_stays_where_it_is_makes_room_for_another_in_the_end() {
    let ca = Scripted::start(|asked| {
        let order = json!({ "status": "processing", "finalize": "<ca>/finalize", "authorizations": [] });
        matches!(asked.path.as_str(), "/finalize" | "/order").then(|| (200, Vec::new(), order.to_string()))
    });
    for orders in [1, 1, 1, 2] {
        let error = ca.issue().await.err().unwrap();
        assert_eq!(error.class, IssueFault::Unreachable);
        assert!(error.text.contains("still `processing` after 1 s"), "{error}");
        assert_eq!(ca.count("/new-order"), orders);
    }
}
