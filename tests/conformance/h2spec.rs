//! h2spec through the gateway, over TLS, to a real HTTP/2 backend.

use bytes::Bytes;
use e2e::{TestBackend, TestCa, TestGateway, run_tool, tool};

/// RFC 7540 §5.3.1: a stream cannot depend on itself. RFC 9113 §5.3 took priorities away.
const OBSOLETE: &str = "5.3.1";
const CASES: usize = 146;

/// What h2spec reports of one face of the gateway.
struct Report {
    tests: usize,
    skipped: usize,
    failed: Vec<String>,
}

/// Reads the JUnit report: `<testcase package="http2/5.3.1" classname="…" …>` with `<failure>`, `<error>` or `<skipped>`
/// inside if it did not pass.
fn parse(report: &str) -> Report {
    let mut found = Report {
        tests: 0,
        skipped: 0,
        failed: Vec::new(),
    };
    for case in report.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next().unwrap();
        let attribute = |name: &str| {
            case.split(&format!("{name}=\""))
                .nth(1)
                .and_then(|rest| rest.split('"').next())
        };
        found.tests += 1;
        if case.contains("<skipped") {
            found.skipped += 1;
        }
        if case.contains("<failure") || case.contains("<error") {
            found.failed.push(format!(
                "{} {}",
                attribute("package").unwrap(),
                attribute("classname").unwrap()
            ));
        }
    }
    found
}

async fn judge(arguments: &[&str], gateway: &TestGateway) {
    let report = gateway.folder().join("h2spec.xml");
    let path = report.to_str().unwrap();
    let ended = run_tool(
        tool("bin/h2spec"),
        &[arguments, &["-o", "5", "-j", path]].concat(),
    )
    .await;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let report = parse(&std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{said}")));
    let (obsolete, failed): (Vec<_>, Vec<_>) = report.failed.iter().partition(|case| case.contains(OBSOLETE));
    eprintln!(
        "h2spec: {} cases, {} skipped, failed: {:?}",
        report.tests, report.skipped, report.failed
    );
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
    assert!(obsolete.len() <= 2, "{obsolete:?}");
    assert_eq!((report.tests, report.skipped), (CASES, 0), "{said}");
}

/// A backend as h2spec wants one: takes any request and answers with a body.
async fn site() -> TestBackend {
    TestBackend::h2(|mut exchange| async move {
        if exchange.body().await.is_ok() {
            exchange.head(&[]);
            if exchange.send(Bytes::from_static(&[b'x'; 1_000])).await.is_ok() {
                exchange.end();
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_over_tls() {
    let (ca, backend) = (TestCa::new(), site().await);
    let gateway = TestGateway::start(&ca, &backend).await;
    let port = gateway.address().port().to_string();
    judge(&["-h", "127.0.0.1", "-p", &port, "-t", "-k"], &gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_over_plaintext() {
    let (ca, backend) = (TestCa::new(), site().await);
    let gateway = TestGateway::builder(&ca, &backend)
        .plaintext_listener()
        .start()
        .await;
    let port = gateway.listener(1).port().to_string();
    judge(&["-h", "127.0.0.1", "-p", &port], &gateway).await;
}

#[test]
fn the_parser_of_the_report_sees_what_failed() {
    let report = r#"<testsuites><testsuite name="a"><testcase package="http2/5.1" classname="idle: x" time="0.1"></testcase>
        <testcase package="http2/5.3.1" classname="depends on itself" time="0"><failure>Expected: GOAWAY</failure></testcase>
        <testcase package="hpack/2" classname="later" time="0"><skipped></skipped></testcase></testsuite></testsuites>"#;
    let report = parse(report);
    assert_eq!((report.tests, report.skipped), (3, 1));
    assert_eq!(report.failed, ["http2/5.3.1 depends on itself"]);
}
