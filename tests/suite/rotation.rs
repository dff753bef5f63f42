//! New certificates in S3 and in Secrets Manager are served within one poll, and nobody notices.

use std::time::{Duration, Instant};

use e2e::{Load, Pair, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TestMoto, TlsOptions, scaled};

/// The poll of the test gateways, its jitter, and the reading.
const ONE_POLL: Duration = Duration::from_millis(5_500 + 2_000);

/// Puts new pairs in place while clients call.
async fn rotates(source: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder, put: impl AsyncFn(&Pair)) {
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let mut serving = ca.pair();
    put(&serving).await;
    let builder = TestGateway::builder(&ca, &backend).without_main();
    let gateway = source(builder).start().await;
    let load = Load::start(gateway.address(), &ca, TlsOptions::default()).await;
    for _ in 0..scaled(1, 10) {
        let next = ca.pair();
        put(&next).await;
        let shown = gateway
            .shows_another(&ca, "localhost", serving.serial, ONE_POLL)
            .await;
        assert_eq!(shown.serial(), next.serial);
        serving = next;
    }
    load.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_in_s3_under_load_harms_nobody() {
    let moto = TestMoto::start().await;
    let bucket = moto.bucket().await;
    let put = async |pair: &Pair| moto.put_pair(&bucket, pair).await;
    rotates(|builder| builder.s3(&moto, &bucket), put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_in_secrets_manager_under_load_harms_nobody() {
    let moto = TestMoto::start().await;
    let secret = moto.name("secret");
    let put = async |pair: &Pair| moto.put_pair_secret(&secret, pair).await;
    rotates(|builder| builder.secrets_manager(&moto, &secret), put).await;
}

#[tokio::test]
async fn a_message_in_the_queue_is_quicker_than_the_poll() {
    let moto = TestMoto::start().await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let bucket = moto.bucket().await;
    let queue = moto.queue(&bucket).await;
    let old = ca.pair();
    moto.put_pair(&bucket, &old).await;
    let gateway = TestGateway::builder(&ca, &backend)
        .without_main()
        .s3(&moto, &bucket)
        .set("/certificates/0/s3/poll", "1h")
        .set("/certificates/0/s3/queue", queue.url.as_str())
        .start()
        .await;
    let new = ca.pair();
    let written = Instant::now();
    moto.put_pair(&bucket, &new).await;
    let limit = Duration::from_secs(10);
    let shown = gateway.shows_another(&ca, "localhost", old.serial, limit).await;
    assert_eq!(shown.serial(), new.serial);
    eprintln!("seen after {:?}", written.elapsed());
}

#[tokio::test]
async fn a_pair_in_one_object_and_one_in_a_pem_secret_serve() {
    let moto = TestMoto::start().await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let (bucket, secret) = (moto.bucket().await, moto.name("pem"));
    let [first, second] =
        [["one.example.com"], ["two.example.com"]].map(|name| ca.issue(&e2e::Leaf::named(&name)));
    moto.put(&bucket, "pair.pem", format!("{}{}", first.chain, first.key))
        .await;
    moto.put_secret(&secret, &format!("{}{}", second.key, second.chain))
        .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .s3(&moto, &bucket)
        .set(
            "/certificates/1/s3",
            serde_json::json!({
                "bucket": bucket, "bundle": "pair.pem", "region": moto.region(), "endpoint": moto.endpoint(),
                "path_style": true, "poll": "5s",
            }),
        )
        .secrets_manager(&moto, &secret)
        .set("/certificates/2/secrets_manager/format", "pem")
        .start()
        .await;
    for (name, pair) in [("one.example.com", first), ("two.example.com", second)] {
        assert_eq!(gateway.shows(&ca, name, ONE_POLL).await.serial(), pair.serial);
    }
}
