//! The official gRPC interop cases: client and server of grpc-go, the gateway between them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{TestCa, TestGateway, eventually, free_port, run_tool, scaled, tool};

/// All cases that need no credentials of a cloud.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_fourteen_cases_pass() {
    let port = free_port();
    let server = Command::new(tool("bin/interop-server"))
        .args(["-port", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(server);
    eventually(
        "the interop server listens",
        Duration::from_secs(10),
        async || tokio::net::TcpStream::connect(("localhost", port)).await.ok(),
    )
    .await;

    let ca = TestCa::new();
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], port).into()])
        .start()
        .await;
    let (to, ca_file) = (gateway.address().port().to_string(), ca.file());
    for round in 0..scaled(1, 100) {
        for case in CASES {
            let arguments = [
                "-server_host=localhost",
                &format!("-server_port={to}"),
                "-use_tls",
                &format!("-ca_file={}", ca_file.display()),
                "-use_test_ca",
                "-server_host_override=localhost",
                &format!("-test_case={case}"),
            ];
            let ended = run_tool(tool("bin/interop-client"), &arguments).await;
            assert!(
                ended.status.success(),
                "round {round}, {case}: {}",
                String::from_utf8_lossy(&ended.stderr)
            );
        }
    }
}
