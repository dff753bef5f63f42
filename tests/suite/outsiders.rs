//! Clients that we did not write: four languages' gRPC libraries, grpcurl, curl, openssl.

use e2e::{Leaf, TestCa, TestGateway, run_tool, scaled, tool};

use crate::guide;

async fn route_guide_client(language: &str) {
    let (ca, _backend, gateway) = guide().await;
    let address = format!("localhost:{}", gateway.address().port());
    let ca_file = ca.file();
    for _ in 0..scaled(1, 20) {
        let ended = run_tool(
            tool(&format!("clients/{language}")),
            &[&address, ca_file.to_str().unwrap()],
        )
        .await;
        let output = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(
            ended.status.success(),
            "{output}{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        let summary: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&summary["client"], &summary["ok"]),
            (&language.into(), &true.into()),
            "{summary}"
        );
    }
}

#[tokio::test]
async fn grpc_go() {
    route_guide_client("go").await;
}

#[tokio::test]
async fn grpc_java() {
    route_guide_client("java").await;
}

#[tokio::test]
async fn grpc_js() {
    route_guide_client("node").await;
}

#[tokio::test]
async fn grpcio_of_python() {
    route_guide_client("python").await;
}

#[tokio::test]
async fn a_client_does_not_trust_a_foreign_ca() {
    let (_ca, _backend, gateway) = guide().await;
    let foreign = TestCa::new();
    let address = format!("localhost:{}", gateway.address().port());
    let ended = run_tool(tool("clients/go"), &[&address, foreign.file().to_str().unwrap()]).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ended.stdout).contains("unknown authority"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn grpcurl_calls_by_reflection_through_the_gateway() {
    let (ca, _backend, gateway) = guide().await;
    let address = format!("localhost:{}", gateway.address().port());
    let ca_file = ca.file();
    let base = ["-cacert", ca_file.to_str().unwrap()];
    let listed = run_tool(tool("bin/grpcurl"), &[&base[..], &[&address, "list"]].concat()).await;
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("routeguide.RouteGuide"),
        "{listed:?}"
    );
    let point = r#"{"latitude": 11, "longitude": 13}"#;
    let call = [
        &base[..],
        &["-d", point, &address, "routeguide.RouteGuide/GetFeature"],
    ]
    .concat();
    let called = run_tool(tool("bin/grpcurl"), &call).await;
    let answer: serde_json::Value =
        serde_json::from_slice(&called.stdout).unwrap_or_else(|_| panic!("{called:?}"));
    assert_eq!(answer["location"]["latitude"], 11);
}

#[tokio::test]
async fn curl_with_prior_knowledge_negotiates_h2_and_gets_404() {
    let (ca, backend, _) = guide().await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set(
            "/routes/0/match",
            serde_json::json!({ "service": "routeguide.RouteGuide" }),
        )
        .start()
        .await;
    let url = format!("https://127.0.0.1:{}/", gateway.address().port());
    let ended = run_tool(
        "curl",
        &[
            "--http2-prior-knowledge",
            "-k",
            "-v",
            "--noproxy",
            "*",
            "--max-time",
            "10",
            &url,
        ],
    )
    .await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        said.contains("ALPN: server accepted h2") || said.contains("server accepted to use h2"),
        "{said}"
    );
    assert!(said.contains("< HTTP/2 404"), "{said}");
}

#[tokio::test]
async fn openssl_sees_h2_chosen_and_the_alert_otherwise() {
    let (ca, _backend, gateway) = guide().await;
    let address = gateway.address().to_string();
    let ca_file = ca.file();
    for version in ["-tls1_2", "-tls1_3"] {
        let ask = async |alpn: &str| {
            let arguments = [
                "s_client",
                "-connect",
                &address,
                "-servername",
                "localhost",
                "-alpn",
                alpn,
                version,
                "-CAfile",
                ca_file.to_str().unwrap(),
                "-verify_return_error",
            ];
            let ended = run_tool("openssl", &arguments).await;
            format!(
                "{}{}",
                String::from_utf8_lossy(&ended.stdout),
                String::from_utf8_lossy(&ended.stderr)
            )
        };
        let said = ask("h2").await;
        assert!(
            said.contains("ALPN protocol: h2") && said.contains("Verify return code: 0 (ok)"),
            "{said}"
        );
        let said = ask("http/1.1").await;
        assert!(
            said.contains("alert no application protocol") && said.contains("SSL alert number 120"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn openssl_gets_the_certificate_of_a_name_with_a_dot_at_its_end() {
    let ca = TestCa::new();
    let api = ca.issue(&Leaf::named(&["api.example.com"]));
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .certificate("api", &api)
        .start()
        .await;
    let address = gateway.address().to_string();
    for (name, is_api) in [
        ("api.example.com", true),
        ("API.example.com.", true),
        ("b.example.com.", false),
    ] {
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            name,
            "-alpn",
            "h2",
        ];
        let ended = run_tool("openssl", &arguments).await;
        let shown = String::from_utf8_lossy(&ended.stdout);
        let pem = shown
            .split_inclusive("-----END CERTIFICATE-----")
            .next()
            .and_then(|text| text.split_once("-----BEGIN CERTIFICATE-----"))
            .unwrap_or_else(|| panic!("{shown}"));
        let text = |pem: &str| pem.split_whitespace().collect::<String>();
        assert_eq!(text(&api.chain).contains(&text(pem.1)), is_api, "{name}");
    }
}
