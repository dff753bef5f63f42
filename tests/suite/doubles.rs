//! The doubles do what the tests take for granted.

use std::time::{Duration, Instant};

use e2e::{Fault, Load, PebbleOptions, TestDns, TestMoto, TestPebble, TlsOptions, eventually, run_tool};
use serde_json::json;

/// GET by curl: status, or what curl says.
async fn curl(arguments: &[&str]) -> Result<String, i32> {
    let base = ["--silent", "--show-error", "--max-time", "10"];
    let ended = run_tool("curl", &[&base[..], arguments].concat()).await;
    match ended.status.code() {
        Some(0) => Ok(String::from_utf8(ended.stdout).unwrap()),
        code => Err(code.unwrap_or(-1)),
    }
}

const RECEIVED_NOTHING: i32 = 52;
const RESET: i32 = 56;
const PARTIAL: i32 = 18;

#[tokio::test]
async fn pebble_answers_through_its_proxy_and_forgets_by_a_restart() {
    let mut pebble = TestPebble::with(PebbleOptions {
        caa_identities: vec!["ca.test".to_owned()],
        ..PebbleOptions::default()
    })
    .await;
    let (directory, ca) = (pebble.directory(), pebble.ca_file());
    let ca = ["--cacert", ca.to_str().unwrap()];
    let page = curl(&[&ca[..], &[&directory]].concat()).await.unwrap();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let port = format!(":{}/", pebble.proxy.address().port());
    assert!(page["newOrder"].as_str().unwrap().contains(&port), "{page}");
    assert_eq!(page["meta"]["caaIdentities"], json!(["ca.test"]));
    assert!(page["meta"]["profiles"]["shortlived"].is_string(), "{page}");
    assert_eq!(pebble.proxy.count("GET /dir"), 1);

    let root = pebble.root(0).await;
    pebble.restart().await;
    assert_ne!(pebble.root(0).await, root);

    pebble.stop();
    let refused = curl(&[&ca[..], &[&directory]].concat()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn the_proxy_spoils_what_it_is_told_to() {
    let moto = TestMoto::start().await;
    let bucket = moto.bucket().await;
    moto.put(&bucket, "object", "x".repeat(1000)).await;
    let url = format!("{}/{bucket}/object", moto.endpoint());
    let scope = "authorization: AWS4-HMAC-SHA256 Credential=t/20260101/eu-central-1/s3/aws4_request";
    let get = async || curl(&["--fail", "--header", scope, &url]).await;
    let intact = get().await.unwrap();
    assert_eq!(intact.len(), 1000);

    let outcomes = [
        (Fault::status(503), Err(22)),
        (Fault::Reset, Err(RESET)),
        (Fault::Lost, Err(RESET)),
        (Fault::Truncate, Err(PARTIAL)),
    ];
    for (fault, expected) in outcomes {
        moto.proxy.spoil_next(1, "GET /", fault.clone());
        let outcome = get().await;
        // A reset may overtake the reader: then curl has received nothing.
        let reset = (&outcome, &expected) == (&Err(RECEIVED_NOTHING), &Err(RESET));
        assert!(outcome == expected || reset, "{fault:?}: {outcome:?}");
        assert_eq!(get().await.as_ref(), Ok(&intact), "once only");
    }

    moto.proxy.spoil_next(1, "GET /", Fault::Corrupt);
    let corrupt = get().await.unwrap();
    assert!(corrupt.len() == 1000 && corrupt != intact);
    moto.proxy
        .spoil_next(1, "GET /", Fault::edit(|body| body.to_ascii_uppercase()));
    assert_eq!(get().await.unwrap(), intact.to_uppercase());

    moto.proxy
        .spoil("GET /", Fault::Delay(Duration::from_millis(300)));
    let asked = Instant::now();
    get().await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(300));
    moto.proxy.heal();

    moto.proxy.spoil("GET /", Fault::Hold);
    let before = moto.proxy.count("object");
    let held = get();
    let release = async {
        eventually("the request is there", Duration::from_secs(5), async || {
            (moto.proxy.count("object") > before).then_some(())
        })
        .await;
        moto.proxy.heal();
    };
    let (answer, ()) = futures_util::future::join(held, release).await;
    assert_eq!(answer.unwrap(), intact);
}

#[tokio::test]
async fn a_hosted_zone_is_seen_by_the_dns_server() {
    let (moto, dns) = (TestMoto::start().await, TestDns::start().await);
    let zone = moto.hosted_zone("zone.test", &dns).await;
    let change = |action: &str| {
        format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
             <Change><Action>{action}</Action><ResourceRecordSet><Name>_acme-challenge.zone.test</Name><Type>TXT</Type>\
             <TTL>60</TTL><ResourceRecords><ResourceRecord><Value>\"one\"</Value></ResourceRecord><ResourceRecord>\
             <Value>\"two\"</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes>\
             </ChangeBatch></ChangeResourceRecordSetsRequest>"
        )
    };
    let url = format!("{}/2013-04-01/hostedzone/{}/rrset/", moto.endpoint(), zone.id);
    let scope = "authorization: AWS4-HMAC-SHA256 Credential=t/20260101/eu-central-1/route53/aws4_request";
    let xml = "content-type: application/xml";
    let post = async |action: &str| {
        curl(&[
            "--fail",
            "--header",
            scope,
            "--header",
            xml,
            "--data",
            &change(action),
            &url,
        ])
        .await
    };
    let seen = async |expected: &[&str]| {
        eventually(
            format!("{expected:?} is seen"),
            Duration::from_secs(5),
            async || {
                let mut values = dns.txt("_acme-challenge.zone.test").await;
                values.sort();
                (values == expected).then_some(())
            },
        )
        .await;
    };
    post("UPSERT").await.unwrap();
    seen(&["one", "two"]).await;
    assert_eq!(zone.txt().await.len(), 2);
    post("DELETE").await.unwrap();
    seen(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_notices_a_lost_connection() {
    let (ca, _backend, mut gateway) = crate::guide().await;
    let load = Load::start(gateway.address(), &ca, TlsOptions::default()).await;
    gateway.start_again().await;
    let harm = load.end().await;
    assert!(harm.failed > 0, "{harm:?}");
}
