//! `h2gate demo`, as a person meets it first.

use std::process::Stdio;
use std::time::Duration;

use e2e::{alone, free_port, h2gate, proof, tool, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn start(arguments: &[&str]) -> Child {
    let (listen, admin) = (
        format!("127.0.0.1:{}", free_port()),
        format!("127.0.0.1:{}", free_port()),
    );
    Command::new(h2gate())
        .args(["demo", "--listen", &listen, "--admin", &admin])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_rotate_and_nothing_fails() {
    let _alone = alone().await;
    let (run_for, every) = if proof() { ("35s", "10s") } else { ("11s", "3s") };
    let demo = start(&["--quiet", "--for", run_for, "--rotate-every", every]).wait_with_output();
    let ended = within("the demo ends", Duration::from_secs(90), demo)
        .await
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let rotations = said
        .split(" rotations seen")
        .next()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap();
    assert!(rotations.parse::<u32>().unwrap() >= 3, "{said}");
    eprintln!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_it_prints_work_when_pasted() {
    let mut demo = start(&["--for", "120s"]);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut pasted = String::new();
    let printed = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            pasted.push_str(&line);
            pasted.push('\n');
            if line.contains("openssl x509") {
                return;
            }
        }
    };
    within("the commands are printed", Duration::from_secs(20), printed).await;
    let (_, commands) = pasted
        .split_once("Try it from another terminal:\n")
        .expect(&pasted);

    // The tools as `scripts/install-tools` brings them; Python is the one that has grpcio.
    let path = [tool("bin"), tool("venv/bin")]
        .map(|folder| folder.to_str().unwrap().to_owned())
        .join(":");
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let shell = Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-c", commands])
        .env("PATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = within("the commands end", Duration::from_secs(60), shell)
        .await
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(ended.status.success(), "{said}");
    for words in [
        "routeguide.RouteGuide\n",
        "\"name\": ",
        "HTTP/2 404",
        "ALPN protocol: h2",
        "serial=",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }

    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let status = within("Ctrl-C ends it", Duration::from_secs(10), demo.wait())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
