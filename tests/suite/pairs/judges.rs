//! Four clients that we did not write.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use e2e::run_tool;
use futures_util::StreamExt as _;

use super::kinds::programs;

/// Processes at a time.
const AT_ONCE: usize = 4;

/// In the order of [`Answers`].
pub(super) const JUDGES: [&str; 4] = ["OpenSSL", "curl", "Go", "Java"];

/// A question to a judge about a kind.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) asked: Asked,
}

#[derive(Debug)]
pub(super) enum Asked {
    /// Does it accept the chain that is served there?
    Serve { port: u16, host: String, roots: String },
    /// Does it read a pair in files, to serve it itself? Without a key it is a PKCS#12 container.
    Read {
        good: u16,
        roots: String,
        chain: String,
        key: Option<String>,
        passphrase: String,
        only_key: bool,
    },
}

/// A judge's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    /// Its last words.
    No(String),
    /// It has nothing to read that with.
    None,
}

pub(super) type Answers = [Answer; 4];

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No(_) => "no",
            Self::None => "–",
        })
    }
}

/// Asks all four. Gives their versions, as `Go 1.26.8`, and the answers by id.
pub(super) async fn ask(questions: &[Question], folder: &Path) -> (Vec<String>, BTreeMap<String, Answers>) {
    let each = |judge: fn(&Question) -> Vec<String>| {
        let program = judge(&questions[0])[0].clone();
        let asked = questions.iter().map(move |question| {
            let words = judge(question);
            async move {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let ended = run_tool(words[0], &words[1..]).await;
                let said = String::from_utf8_lossy(&[ended.stderr, ended.stdout].concat()).into_owned();
                match ended.status.success() {
                    true => Answer::Yes,
                    false => Answer::No(said),
                }
            }
        });
        let answers = futures_util::stream::iter(asked)
            .buffered(AT_ONCE)
            .collect::<Vec<_>>();
        async move { (version(&program).await, answers.await) }
    };
    let program = |name: &str| programs().join(name).to_str().unwrap().to_owned();
    let (judge_go, judge_java) = (program("judge.go"), program("Judge.java"));
    let run_go = ["env", "GOTOOLCHAIN=local", "go", "run", &judge_go];
    // A short-lived program: the quick compiler makes it start in half the time.
    let run_java = ["java", "-XX:TieredStopAtLevel=1", &judge_java];
    let (openssl, curl, go, java) = tokio::join!(
        each(openssl),
        each(curl),
        in_one(questions, folder, "go", &run_go),
        in_one(questions, folder, "java", &run_java),
    );
    let judges = [openssl, curl, go, java];
    let answers = questions.iter().enumerate().map(|(index, question)| {
        let of = |judge: usize| judges[judge].1[index].clone();
        (question.id.clone(), [of(0), of(1), of(2), of(3)])
    });
    let answers = answers.collect();
    (judges.map(|(version, _)| version).to_vec(), answers)
}

async fn version(program: &str) -> String {
    let argument = if program == "curl" { "--version" } else { "version" };
    let said = run_tool(program, &[argument]).await.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Asked {
    /// The server that is asked: its port, its name, and the roots that are trusted.
    fn server(&self) -> (u16, &str, &str) {
        match self {
            Self::Serve { port, host, roots } => (*port, host, roots),
            Self::Read { good, roots, .. } => (*good, "good.pairs.test", roots),
        }
    }
}

/// It reads standard input, which is at its end, and closes.
fn openssl(question: &Question) -> Vec<String> {
    let (port, host, roots) = question.asked.server();
    let address = format!("127.0.0.1:{port}");
    let mut command = words(&[
        "openssl",
        "s_client",
        "-connect",
        &address,
        "-verify_return_error",
        "-alpn",
        "h2",
    ]);
    command.extend(match host.parse::<std::net::IpAddr>() {
        Ok(_) => words(&["-verify_ip", host, "-noservername"]),
        Err(_) => words(&["-verify_hostname", host, "-servername", host]),
    });
    command.extend(words(&["-CAfile", roots, "-no-CApath", "-no-CAstore"]));
    if let Asked::Read {
        chain,
        key,
        passphrase,
        ..
    } = &question.asked
    {
        let pass = format!("pass:{passphrase}");
        let key = key.as_ref().unwrap_or(chain);
        command.extend(words(&["-cert", chain, "-key", key, "-pass", &pass]));
        if key != chain {
            command.extend(words(&["-cert_chain", chain]));
        }
    }
    command
}

fn curl(question: &Question) -> Vec<String> {
    let (port, host, roots) = question.asked.server();
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/");
    let mut command = words(&[
        "curl",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--resolve",
        &resolve,
        "--cacert",
        roots,
        &url,
    ]);
    if let Asked::Read {
        chain,
        key,
        passphrase,
        ..
    } = &question.asked
    {
        command.extend(match key {
            Some(key) => words(&["--cert", chain, "--key", key, "--pass", passphrase]),
            None => words(&["--cert", chain, "--cert-type", "P12", "--pass", passphrase]),
        });
    }
    command
}

/// One process for all questions: judge.go or Judge.java.
async fn in_one(
    questions: &[Question],
    folder: &Path,
    name: &str,
    command: &[&str],
) -> (String, Vec<Answer>) {
    let line = |question: &Question| match &question.asked {
        Asked::Serve { port, host, roots } => format!("serve\t{}\t{port}\t{host}\t{roots}\n", question.id),
        Asked::Read {
            chain,
            key,
            passphrase,
            ..
        } => {
            let (key, kind) = key.as_ref().map_or(("", "pkcs12"), |key| (key, "pem"));
            format!("read\t{}\t{chain}\t{key}\t{passphrase}\t{kind}\n", question.id)
        }
    };
    let file = folder.join(format!("questions-{name}"));
    std::fs::write(&file, questions.iter().map(line).collect::<String>()).unwrap();
    let script = [&["-c", "exec \"$@\" <\"$0\"", file.to_str().unwrap()], command].concat();
    let ended = run_tool("sh", &script).await;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let mut lines = said.lines();
    let version = lines.next().unwrap_or_else(|| panic!("{ended:?}")).to_owned();
    let answers = questions.iter().map(|question| {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{}: {ended:?}", question.id));
        let mut parts = line.splitn(3, '\t');
        assert_eq!(parts.next(), Some(question.id.as_str()));
        // Neither Java's nor anybody's own way to read a key in PEM is asked for.
        match (parts.next().unwrap(), &question.asked) {
            (_, Asked::Read { only_key: true, .. }) if name == "java" => Answer::None,
            ("yes", _) => Answer::Yes,
            ("no", _) => Answer::No(parts.next().unwrap_or_default().to_owned()),
            _ => Answer::None,
        }
    });
    (version, answers.collect())
}
