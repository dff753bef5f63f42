//! R12: with any fault of a store, the pair stays unchanged, the error names the fault, and at most one request a
//! second is sent. Time is virtual.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use certstore::trust::MAX_TRUST_BYTES;

use super::*;

/// Time for which a fault lasts while readers ask as fast as they are allowed.
const FAULT: Duration = Duration::from_secs(120);

/// A bucket with two objects.
fn bucket(asked: &ReceivedRequest) -> FaultAnswer {
    let body = match asked.path.split('?').next().unwrap() {
        "/bucket/api/chain.pem" => "chain",
        "/bucket/api/key.pem" => "key",
        other => return FaultAnswer::status(404, &no_such(other)),
    };
    let etag = format!("\"{body}\"");
    if asked.headers.get("if-none-match") == Some(&etag) {
        return FaultAnswer::status(304, "").with("etag", &etag);
    }
    FaultAnswer::status(200, body).with("etag", &etag)
}

fn no_such(key: &str) -> String {
    s3_error("NoSuchKey", &format!("The specified key {key} does not exist."))
}

fn s3_error(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

fn secrets(_: &ReceivedRequest) -> FaultAnswer {
    let secret = serde_json::json!({"certificate": "chain", "private_key": "key"}).to_string();
    FaultAnswer::status(200, &serde_json::json!({"SecretString": secret}).to_string())
}

fn json_error(code: &str, message: &str) -> FaultAnswer {
    let body = serde_json::json!({"__type": code, "message": message}).to_string();
    FaultAnswer::status(400, &body)
}

/// The report of each answer.
async fn faults_are_told(
    server: &FaultServer,
    reader: &mut SourceReader,
    well: impl Fn(&ReceivedRequest) -> FaultAnswer + Send + Sync + Copy + 'static,
    cases: Vec<(FaultAnswer, RemoteFault, &str)>,
) {
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain", "key"));
    for (answer, fault, words) in cases {
        server.answer(move |_| answer.clone());
        let (start, before) = (Instant::now(), server.asked());
        let mut told = HashSet::new();
        while start.elapsed() < FAULT {
            let error = reader.read().await.expect_err(words);
            let (found, text) = remote(&error);
            assert_eq!(found, fault, "{error}");
            assert!(text.contains(words), "{error}");
            told.insert(error.to_string());
        }
        let seconds = start.elapsed().as_secs_f64();
        let asked = server.asked() - before;
        assert!(
            asked >= 1 && asked as f64 <= seconds + 1.0,
            "{asked} requests in {seconds} s: {words}"
        );
        assert_eq!(told.len(), 1, "{told:?}");
        server.answer(well);
        assert_eq!(texts(&reader.read().await.unwrap()), ("chain", "key"), "healed");
    }
}

fn of_any_service() -> Vec<(FaultAnswer, RemoteFault, &'static str)> {
    use RemoteFault::{Unavailable, Unreachable};
    vec![
        (FaultAnswer::Hang, Unreachable, "gave no answer in time"),
        (FaultAnswer::Reset, Unreachable, "cannot be reached"),
        (FaultAnswer::status(500, ""), Unavailable, "HTTP 500"),
        (
            FaultAnswer::status(502, "<html>bad gateway</html>"),
            Unavailable,
            "HTTP 502",
        ),
        (FaultAnswer::status(429, ""), Unavailable, "HTTP 429"),
    ]
}

#[tokio::test(start_paused = true)]
async fn faults_of_s3_change_no_pair_and_are_not_answered_by_haste() {
    use RemoteFault::{Configuration, Denied, Kms, NotFound, TooLarge, Unavailable, Unreachable};
    let server = FaultServer::start(bucket).await;
    let mut reader = server.s3(pair_of_objects());
    let error = |status, code, message| FaultAnswer::status(status, &s3_error(code, message));
    let large = FaultAnswer::Whole(200, Vec::new(), vec![b'x'; 262_145]);
    let mut cases = of_any_service();
    cases.extend([
        (
            error(503, "SlowDown", "Please reduce your request rate."),
            Unavailable,
            "SlowDown: Please",
        ),
        (
            error(403, "AccessDenied", "Access Denied"),
            Denied,
            "without s3:ListBucket",
        ),
        (
            error(403, "AccessDenied", "not authorized to perform: kms:Decrypt"),
            Kms,
            "kms:Decrypt",
        ),
        (
            error(403, "InvalidAccessKeyId", "The key does not exist"),
            Denied,
            "InvalidAccessKeyId",
        ),
        (
            error(404, "NoSuchKey", "The specified key does not exist."),
            NotFound,
            "NoSuchKey",
        ),
        (
            error(404, "NoSuchBucket", "The specified bucket does not exist"),
            NotFound,
            "NoSuchBucket",
        ),
        (
            error(403, "InvalidObjectState", "not valid for the storage class"),
            NotFound,
            "archived",
        ),
        (
            error(301, "PermanentRedirect", "must be addressed elsewhere")
                .with("x-amz-bucket-region", "us-west-2"),
            Configuration,
            "the bucket is in region us-west-2",
        ),
        (
            error(
                400,
                "AuthorizationHeaderMalformed",
                "the region 'a' is wrong; expecting 'b'",
            ),
            Configuration,
            "expecting 'b'",
        ),
        (large, TooLarge, "it has 262145 bytes; at most 262144 are read"),
        (FaultAnswer::Endless(200), TooLarge, "at most 262144 are read"),
        (
            FaultAnswer::Truncated(b"chai".to_vec()),
            Unreachable,
            "did not come whole",
        ),
        (FaultAnswer::Slow(vec![b'x'; 1_000]), Unreachable, ""),
    ]);
    faults_are_told(&server, &mut reader, bucket, cases).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_secrets_manager_change_no_pair_and_are_not_answered_by_haste() {
    use RemoteFault::{Denied, Kms, Malformed, NotFound, TooLarge, Unavailable, Unreachable};
    let server = FaultServer::start(secrets).await;
    let mut reader = server.secret(json());
    let secret =
        |text: &str| FaultAnswer::status(200, &serde_json::json!({"SecretString": text}).to_string());
    let mut cases = of_any_service();
    cases.extend([
        (
            json_error("ThrottlingException", "Rate exceeded"),
            Unavailable,
            "Rate exceeded",
        ),
        (
            json_error(
                "AccessDeniedException",
                "not authorized to perform: secretsmanager:GetSecretValue",
            ),
            Denied,
            "GetSecretValue",
        ),
        (
            json_error("AccessDeniedException", "Access to KMS is not allowed"),
            Kms,
            "Access to KMS",
        ),
        (
            json_error("DecryptionFailure", "cannot decrypt"),
            Kms,
            "cannot decrypt",
        ),
        (
            json_error(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
            ),
            NotFound,
            "can't find",
        ),
        (
            json_error("InvalidRequestException", "because it was marked for deletion."),
            NotFound,
            "marked for deletion",
        ),
        (
            secret(&"x".repeat(65_537)),
            TooLarge,
            "it has 65537 bytes; at most 65536 are read",
        ),
        (
            secret("{\"certificate\": "),
            Malformed,
            "ends too early (line 1, column 16)",
        ),
        (
            secret("{\"cert\": \"\"}"),
            Malformed,
            "it has no field `certificate`, but `cert`",
        ),
        (
            FaultAnswer::status(200, "{\"Secret"),
            Unreachable,
            "invalid answer",
        ),
        (FaultAnswer::Truncated(b"{".to_vec()), Unreachable, ""),
        (FaultAnswer::Slow(vec![b' '; 1_000]), Unreachable, ""),
    ]);
    faults_are_told(&server, &mut reader, secrets, cases).await;
}

/// Only the content of the two sockets' buffers is taken beyond the limit.
#[tokio::test]
async fn an_endless_answer_is_not_taken() {
    const MOST: usize = 24 << 20;
    let told = |error: &Error, service: &str| {
        let (fault, text) = remote(error);
        assert_eq!(fault, RemoteFault::Unreachable, "{text}");
        let words = "the answer has more than 1048576 bytes; something else than AWS may answer there";
        assert_eq!(text, format!("{service}: {words}"));
    };
    for status in [200, 403, 500] {
        let server = FaultServer::start(move |_| FaultAnswer::Endless(status)).await;
        let error = server.secret(json()).read().await.unwrap_err();
        let taken = server.taken().await;
        assert!(taken < MOST, "Secrets Manager, {status}: {taken}, {error}");
        told(&error, "Secrets Manager");
        // An object has its own limit.
        if status != 200 {
            let error = server.s3(pair_of_objects()).read().await.unwrap_err();
            let taken = server.taken().await;
            assert!(taken < MOST, "S3, {status}: {taken}, {error}");
            told(&error, "S3");
        }
        let url = format!("http://{}/1/changes", server.address);
        let mut reader = s3(server.aws(), "bucket", pair_of_objects(), Some(url));
        tokio::select! {
            _ = reader.hint() => panic!("a hint"),
            taken = server.taken() => assert!(taken < MOST, "SQS, {status}: {taken}"),
        }
    }
}

/// A secret of the longest kind, each of its bytes written in six, and the longest trust bundle.
#[tokio::test(start_paused = true)]
async fn the_longest_answers_of_use_are_read() {
    let server = FaultServer::start(|_| {
        let escaped = "\\u0078".repeat(65_536 - 38);
        let secret = format!(r#"{{\"certificate\":\"{escaped}\",\"private_key\":\"k\"}}"#);
        FaultAnswer::status(200, &format!(r#"{{"SecretString":"{secret}"}}"#))
    })
    .await;
    let pair = server.secret(json()).read().await.unwrap();
    assert_eq!(pair.chain.len(), 65_536 - 38);
    assert_eq!(pair.key.as_slice(), b"k");
    let server = FaultServer::start(|_| FaultAnswer::status(200, &"x".repeat(4 << 20))).await;
    let mut reader = list_of(&server);
    assert_eq!(reader.read().await.unwrap().chain.len(), 4 << 20);
}

#[tokio::test(start_paused = true)]
async fn two_objects_are_read_as_they_were_together() {
    let server = FaultServer::start(bucket).await;
    let mut reader = server.s3(pair_of_objects());
    reader.read().await.unwrap();
    // Both objects are replaced between the first look at the chain and the look at the key.
    let replaced = Mutex::new(0);
    server.answer(move |asked| {
        let mut looks = replaced.lock().unwrap();
        *looks += 1;
        let turn = if *looks == 1 { "old" } else { "new" };
        let body = format!("{turn} {}", asked.path.split('?').next().unwrap());
        let etag = format!("\"{body}\"");
        if asked.headers.get("if-none-match") == Some(&etag) {
            return FaultAnswer::status(304, "").with("etag", &etag);
        }
        FaultAnswer::status(200, &body).with("etag", &etag)
    });
    let pair = reader.read().await.unwrap();
    assert_eq!(
        texts(&pair),
        ("new /bucket/api/chain.pem", "new /bucket/api/key.pem")
    );
}

#[tokio::test(start_paused = true)]
async fn objects_that_never_rest_are_told_as_moving() {
    let looks = Mutex::new(0);
    let server = FaultServer::start(move |_| {
        let mut looks = looks.lock().unwrap();
        *looks += 1;
        FaultAnswer::status(200, &looks.to_string()).with("etag", &format!("\"{looks}\""))
    })
    .await;
    let mut reader = server.s3(pair_of_objects());
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.reason, Reason::Moving);
    assert_eq!(
        error.places,
        ["s3://bucket/api/chain.pem", "s3://bucket/api/key.pem"]
    );
    assert_eq!(server.asked(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_pair_is_answered_by_conditions() {
    let server = FaultServer::start(bucket).await;
    let mut reader = server.s3(pair_of_objects());
    let first = reader.read().await.unwrap();
    server.answer(|asked| {
        assert!(asked.headers.contains_key("if-none-match"));
        bucket(asked)
    });
    let asked = server.asked();
    let second = reader.read().await.unwrap();
    assert_eq!(server.asked() - asked, 2);
    assert!(first.content() == second.content());
}

/// Reads a revocation list from the server.
fn list_of(server: &FaultServer) -> SourceReader {
    let source = Source::S3(S3Source {
        aws: server.aws(),
        bucket: "bucket".to_owned(),
        chain: object("ca.crl"),
        key: object("ca.crl"),
        path_style: true,
        poll: POLL,
        queue: None,
    });
    SourceReader::new(
        &source,
        MAX_TRUST_BYTES,
        POLL,
        None,
        &crate::event::Reporter::new(None),
    )
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn revocation_lists_may_be_longer_than_a_pair() {
    let long = "x".repeat(262_145);
    let server = FaultServer::start({
        let long = long.clone();
        move |_| FaultAnswer::status(200, &long)
    })
    .await;
    let mut reader = list_of(&server);
    assert_eq!(
        texts(&reader.read().await.unwrap()),
        (long.as_str(), long.as_str())
    );
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("ca.crl");
    std::fs::write(&path, &long).unwrap();
    let source = Source::Files(crate::FileSource {
        chain: path.clone(),
        key: path,
    });
    let mut reader = SourceReader::new(
        &source,
        MAX_TRUST_BYTES,
        POLL,
        None,
        &crate::event::Reporter::new(None),
    )
    .unwrap();
    assert_eq!(
        texts(&reader.read().await.unwrap()),
        (long.as_str(), long.as_str())
    );
    let mut reader = SourceReader::new(
        &source,
        MAX_PEM_BYTES,
        POLL,
        None,
        &crate::event::Reporter::new(None),
    )
    .unwrap();
    assert!(reader.read().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_is_one_hint_a_second_at_most() {
    let queue = FaultServer::start(|asked| {
        let target = asked.headers.get("x-amz-target").unwrap();
        if target.ends_with("ReceiveMessage") {
            let body =
                serde_json::json!({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}"}]});
            FaultAnswer::status(200, &body.to_string())
        } else {
            FaultAnswer::status(200, r#"{"Successful": [{"Id": "0"}], "Failed": []}"#)
        }
    })
    .await;
    let url = format!("http://{}/1/changes", queue.address);
    let mut reader = s3(queue.aws(), "bucket", pair_of_objects(), Some(url));
    let start = Instant::now();
    for _ in 0..20 {
        reader.hint().await;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds >= 18.0, "{seconds}");
    let asked = queue.asked() as f64;
    assert!(asked <= seconds + 2.0, "{asked} requests in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_trouble_is_asked_ever_more_seldom() {
    let queue = FaultServer::start(|_| json_error("AccessDenied", "no")).await;
    let url = format!("http://{}/1/changes", queue.address);
    let mut reader = s3(queue.aws(), "bucket", pair_of_objects(), Some(url));
    let hint = tokio::time::timeout(Duration::from_secs(3_600), reader.hint()).await;
    assert!(hint.is_err());
    assert!((5..=20).contains(&queue.asked()), "{}", queue.asked());
}

#[tokio::test]
async fn a_store_without_hosts_for_buckets_is_told_by_the_host_that_was_asked() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut told = Vec::new();
    for path_style in [false, true] {
        let [chain, key] = pair_of_objects();
        let source = Source::S3(S3Source {
            aws: Aws {
                region: Some("us-east-1".to_owned()),
                endpoint: Some(format!("http://localhost:{}/", nobody.port())),
                role: None,
            },
            bucket: "certs".to_owned(),
            chain,
            key,
            path_style,
            poll: POLL,
            queue: None,
        });
        let error = SourceReader::new(
            &source,
            MAX_PEM_BYTES,
            POLL,
            None,
            &crate::event::Reporter::new(None),
        )
        .unwrap()
        .read()
        .await
        .unwrap_err();
        let (fault, text) = remote(&error);
        assert_eq!(fault, RemoteFault::Unreachable);
        told.push(text.to_owned());
    }
    let host = format!("certs.localhost:{}: set `path_style: true`", nobody.port());
    assert!(told[0].contains(&host), "{}", told[0]);
    assert!(!told[1].contains("path_style"), "{}", told[1]);
}

/// Keys that were rotated where the SDK has read them once: a profile, the environment of a container's agent.
#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_are_looked_for_anew() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let refuses = Arc::new(AtomicBool::new(true));
    let (told, refusing) = (Arc::clone(&seen), Arc::clone(&refuses));
    let server = FaultServer::start(move |asked| {
        let key = asked.headers["authorization"].split(['=', '/']).nth(1).unwrap();
        told.lock().unwrap().push(key.to_owned());
        match refusing.load(Ordering::Relaxed) {
            true => json_error("UnrecognizedClientException", "The security token is invalid."),
            false => secrets(asked),
        }
    })
    .await;
    let mut reader = server.secret(json());
    let keys = || std::mem::take(&mut *seen.lock().unwrap());
    for _ in 0..40 {
        let error = reader.read().await.unwrap_err();
        assert_eq!(remote(&error).0, RemoteFault::Denied);
        sleep(Duration::from_secs(1)).await;
    }
    let refused = keys();
    let distinct: HashSet<_> = refused.iter().collect();
    assert!((3..=6).contains(&distinct.len()), "{refused:?}");
    refuses.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(texts(&reader.read().await.unwrap()), ("chain", "key"));
        sleep(Duration::from_secs(3_600)).await;
    }
    let taken: HashSet<_> = keys().into_iter().collect();
    assert_eq!(taken.len(), 1, "what works is kept: {taken:?}");
}

#[tokio::test]
async fn without_a_region_the_error_says_so() {
    // Only if neither environment nor profile nor instance has one.
    let aws = Aws::default();
    if let Err(failure) = crate::aws::config(&aws).await {
        assert_eq!(failure.fault, RemoteFault::Configuration);
        assert!(failure.text.starts_with("no AWS region is known"), "{failure}");
    }
}
