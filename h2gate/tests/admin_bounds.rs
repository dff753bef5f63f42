//! Whoever reaches the admin port cannot use it up.

mod admin_support;

use std::time::Duration;

use admin_support::{Answer, TestAdmin, is_closed};
use h2gate::admin::ConnectionBounds;
use tokio::io::AsyncWriteExt as _;

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_probe_is_answered_while_silent_connections_hold_all_places() {
    let admin = TestAdmin::with_bounds(ConnectionBounds {
        max_connections: 4,
        ..ConnectionBounds::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(admin.connect().await);
    }
    assert_eq!(admin.get("/live").await.status, 200);
    // Twelve and the probe came, four had a place: those that came first were closed.
    for stream in silent.iter_mut().take(8) {
        assert!(is_closed(stream).await);
    }
}

#[tokio::test]
async fn a_probe_is_answered_beside_heads_that_come_octet_by_octet() {
    let admin = TestAdmin::with_bounds(ConnectionBounds {
        max_connections: 4,
        ..ConnectionBounds::default()
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(admin.connect().await);
    }
    let mut probe = admin.connect().await;
    probe.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    // All of them are busier than the probe when the next one comes.
    for _ in 0..5 {
        tokio::time::sleep(SHORT / 20).await;
        for stream in &mut busy {
            let _ = stream.write_all(b"G").await;
        }
    }
    tokio::time::sleep(SHORT / 4).await;
    busy.push(admin.connect().await);
    tokio::time::sleep(SHORT / 4).await;
    let rest = b"host: localhost\r\nconnection: close\r\n\r\n";
    probe.write_all(rest).await.unwrap();
    assert_eq!(Answer::read(&mut probe).await.status, 200);
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed() {
    let admin = TestAdmin::with_bounds(ConnectionBounds {
        idle: SHORT,
        ..ConnectionBounds::default()
    })
    .await;
    let mut silent = admin.connect().await;
    let mut half_a_preface = admin.connect().await;
    half_a_preface.write_all(b"PRI * HTTP/2.0").await.unwrap();
    assert!(is_closed(&mut silent).await);
    assert!(is_closed(&mut half_a_preface).await);
}

#[tokio::test]
async fn an_unfinished_head_is_closed_even_if_bytes_trickle() {
    let bounds = ConnectionBounds {
        header_read: SHORT,
        ..ConnectionBounds::default()
    };
    let admin = TestAdmin::with_bounds(bounds).await;
    let mut slow = admin.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .unwrap();
    let (mut read, mut write) = slow.split();
    let trickle = async {
        while write.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let mut rest = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest);
    tokio::select! {
        _ = closed => {}
        () = trickle => {}
        () = tokio::time::sleep(admin_support::SOON) => panic!("still open"),
    }
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let admin = TestAdmin::start().await;
    let mut stream = admin.connect().await;
    let long = "x".repeat(64 << 10);
    // The port may close before it has read all.
    let _ = stream
        .write_all(format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n").as_bytes())
        .await;
    drop(stream);
    let mut stream = admin.connect().await;
    let fitting = "x".repeat(8 << 10);
    let text = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {fitting}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 200);
}

#[tokio::test]
async fn requests_follow_one_another_on_one_connection() {
    let admin = TestAdmin::start().await;
    let mut stream = admin.connect().await;
    stream
        .write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    stream
        .write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(Answer::read(&mut stream).await.body.contains("HTTP/1.1 200"));
}
