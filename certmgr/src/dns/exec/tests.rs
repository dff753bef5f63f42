//! The hook on real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::error::IssueFault;

/// Time for which a test waits for an event. It is never reached if the code is correct.
const DEADLINE: Duration = Duration::from_secs(20);

/// A shell script, and a directory that it may write into as `$HERE`.
struct Script {
    directory: TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let here = directory.path().display();
        fs::write(directory.path().join("hook.sh"), format!("HERE={here}\n{text}\n")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn hook(&self, timeout: Duration) -> Hook {
        let script = self.path("hook.sh").display().to_string();
        hook(&["/bin/sh", &script, "--token", "hush"], timeout)
    }
}

fn hook(command: &[&str], timeout: Duration) -> Hook {
    Hook::new(
        ExecHook {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            timeout,
            propagation: Duration::ZERO,
        },
        Reporter::new(None),
    )
}

fn records() -> Vec<TxtRecord> {
    ["one", "two"]
        .map(|value| TxtRecord {
            name: "_acme-challenge.example.com".to_owned(),
            value: value.to_owned(),
        })
        .into()
}

/// True if the process runs; a dead process that is not yet waited for does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

async fn until(what: &str, fact: impl Fn() -> bool) {
    let started = Instant::now();
    while !fact() {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_record_is_one_call_with_words_as_arguments_and_in_the_environment() {
    let script = Script::new(
        r#"echo "$3 $4 $5 = $H2GATE_DNS_ACTION $H2GATE_DNS_NAME $H2GATE_DNS_VALUE, home $HOME" >> $HERE/calls"#,
    );
    let hook = script.hook(DEADLINE);
    hook.present(&records()).await.unwrap();
    hook.clean_up(&records()).await.unwrap();
    let home = std::env::var("HOME").unwrap_or_default();
    let calls: Vec<String> = script.read("calls").lines().map(str::to_owned).collect();
    let expected: Vec<String> = ["present", "cleanup"]
        .iter()
        .flat_map(|action| {
            ["one", "two"].map(|value| format!("{action} _acme-challenge.example.com {value}"))
        })
        .map(|words| format!("{words} = {words}, home {home}"))
        .collect();
    assert_eq!(calls, expected);
}

#[tokio::test(start_paused = true)]
async fn propagation_is_waited_for_once_after_the_last_record() {
    let hook = Hook::new(
        ExecHook {
            command: vec!["/bin/true".to_owned()],
            timeout: Duration::from_secs(1_000_000),
            propagation: Duration::from_secs(30),
        },
        Reporter::new(None),
    );
    // The clock jumps over a command that runs as far as its timeout, and no further.
    let started = tokio::time::Instant::now();
    let _ = hook.present(&[]).await;
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_failure_tells_its_code_and_the_last_lines_of_stderr() {
    let script = Script::new(
        "i=0; while [ $i -lt 5000 ]; do echo noise $i >&2; i=$((i+1)); done; echo 'the zone is locked' >&2; exit 3",
    );
    let error = script.hook(DEADLINE).present(&records()).await.unwrap_err();
    assert!(
        error.text.contains("present _acme-challenge.example.com"),
        "{error}"
    );
    assert!(error.text.contains("exit code 3"), "{error}");
    assert!(error.text.contains("noise 4999 | the zone is locked"), "{error}");
    assert!(error.text.len() < 400, "{} bytes", error.text.len());
    assert!(
        !error.text.contains("hush"),
        "an argument of the operator's: {error}"
    );
}

#[tokio::test]
async fn present_ends_with_the_first_failure_and_cleanup_does_not() {
    let script = Script::new("echo $3 $5 >> $HERE/calls; [ $5 = two ]");
    let hook = script.hook(DEADLINE);
    hook.present(&records()).await.unwrap_err();
    assert_eq!(script.read("calls"), "present one\n");
    hook.clean_up(&records()).await.unwrap_err();
    assert_eq!(script.read("calls"), "present one\ncleanup one\ncleanup two\n");
}

#[tokio::test]
async fn at_the_timeout_all_processes_of_the_command_are_killed() {
    let script = Script::new("sleep 1000 & echo $! > $HERE/background; echo $$ > $HERE/leader; wait");
    let error = script
        .hook(Duration::from_millis(300))
        .present(&records())
        .await
        .unwrap_err();
    assert!(error.text.contains("was killed"), "{error}");
    assert!(error.text.contains("0.3 s"), "{error}");
    for name in ["background", "leader"] {
        until(name, || !runs(&script.read(name))).await;
    }
}

#[tokio::test]
async fn cancelling_kills_all_processes_of_the_command() {
    let script = Script::new(
        "sleep 1000 & echo $! > $HERE/background.new; mv $HERE/background.new $HERE/background; wait",
    );
    let hook = script.hook(DEADLINE);
    let (records, started) = (records(), || script.path("background").exists());
    tokio::select! {
        ended = hook.present(&records) => panic!("{ended:?}"),
        () = until("the start", started) => (),
    }
    let background = script.read("background");
    until("the end", || !runs(&background)).await;
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_is_not_waited_for() {
    let script = Script::new("sleep 1000 & echo $! > $HERE/background; echo leaving >&2; exit 0");
    let started = Instant::now();
    script.hook(DEADLINE).present(&records()[..1]).await.unwrap();
    assert!(started.elapsed() < DEADLINE / 2, "{:?}", started.elapsed());
    let background: i32 = script.read("background").trim().parse().unwrap();
    assert!(runs(&background.to_string()));
    let _ = rustix::process::kill_process(Pid::from_raw(background).unwrap(), Signal::KILL);
}

#[tokio::test]
async fn a_death_by_signal_is_told() {
    let script = Script::new("kill -9 $$");
    let error = script.hook(DEADLINE).present(&records()).await.unwrap_err();
    assert!(error.text.contains("signal 9"), "{error}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named_with_a_remedy() {
    let missing = hook(&["/nowhere/hook"], DEADLINE)
        .present(&records())
        .await
        .unwrap_err();
    assert!(missing.text.contains("/nowhere/hook"), "{missing}");
    assert!(missing.remedy.contains("check the path"), "{}", missing.remedy);
    let script = Script::new("");
    let path = script.path("hook.sh").display().to_string();
    let forbidden = hook(&[&path], DEADLINE).present(&records()).await.unwrap_err();
    assert!(forbidden.remedy.contains("chmod +x"), "{}", forbidden.remedy);
    hook(&[], DEADLINE).present(&records()).await.unwrap_err();
}

#[tokio::test]
async fn of_a_long_text_only_the_end_is_kept() {
    let text = format!("{}\nthe end", "x".repeat(1_000_000));
    let mut tail = StderrTail::default();
    tail.read(text.as_bytes()).await;
    assert_eq!(tail.0.len(), MAX_STDERR_BYTES);
    assert!(tail.lines().ends_with("x | the end"));
}

#[tokio::test]
async fn a_name_that_a_shell_could_misread_runs_nothing() {
    let script = Script::new("echo \"$@\" >> $HERE/called");
    let hook = script.hook(DEADLINE);
    for name in [
        "_acme-challenge.example.com;reboot",
        "$(reboot).example.com",
        "a b.example.com",
        "-rf.example.com",
        "a\u{1b}[31m.example.com",
        "*.example.com",
        "münchen.example",
        "a\\032b.example.com",
    ] {
        let record = [TxtRecord {
            name: name.to_owned(),
            value: "x".to_owned(),
        }];
        for ended in [hook.check(&record), hook.present(&record).await] {
            let error = ended.unwrap_err();
            assert_eq!(error.class, IssueFault::Dns, "{name}");
            assert!(!error.text.contains('\u{1b}'), "{error}");
        }
        // A record that can never be removed must not block all later orders.
        hook.clean_up(&record).await.unwrap();
    }
    assert_eq!(script.read("called"), "");
    let good = [TxtRecord {
        name: "_acme-challenge.A-1.example.com".to_owned(),
        value: "-x_".to_owned(),
    }];
    hook.present(&good).await.unwrap();
    assert!(
        script
            .read("called")
            .contains("present _acme-challenge.A-1.example.com -x_")
    );
}
