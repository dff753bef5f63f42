//! `h2gate demo`, as a person meets it first.

use std::process::Stdio;
use std::time::Duration;

use e2e::{alone, free_port, h2gate, proof, within};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_rotates_certificates_and_loses_nothing() {
    let _alone = alone().await;
    let (run_for, every) = if proof() { ("35s", "10s") } else { ("11s", "3s") };
    let demo = Command::new(h2gate())
        .args(["demo", "--quiet", "--for", run_for, "--rotate-every", every])
        .args([
            "--listen",
            &format!("127.0.0.1:{}", free_port()),
            "--admin",
            &format!("127.0.0.1:{}", free_port()),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = within("the demo ends", Duration::from_secs(90), demo)
        .await
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(ended.status.code(), Some(0), "{said}");
    for words in ["grpcurl", "curl", "-cacert"] {
        assert!(said.contains(words), "ready-to-paste commands: {words}\n{said}");
    }
    eprintln!("{said}");
}
