//! The kinds of pairs that tests/pairs/make.py makes.

use std::path::{Path, PathBuf};

use e2e::{run_tool, tool};
use serde_json::Value;
use tempfile::TempDir;

use super::Question;
use super::judges::Asked;

/// All of them, and the folder of their files.
#[derive(Debug)]
pub(super) struct Kinds {
    folder: TempDir,
    kinds: Vec<Kind>,
}

/// A kind, as make.py describes it.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) sort: Sort,
    /// The kind with the same chain.
    pub(super) like: Option<String>,
    pub(super) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Chain,
    Form,
    Secret,
    Acme,
}

/// The file with the root of the CA that answers.
pub(super) const ACME_ROOT: &str = "acme.roots";

/// The folder of make.py and of the judges.
pub(super) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pairs")
}

impl Kinds {
    pub(super) async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = programs().join("make.py");
        let arguments = [script.to_str().unwrap(), folder.path().to_str().unwrap()];
        // Of moto's environment, for it has `cryptography`.
        let made = run_tool(tool("moto/bin/python"), &arguments).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = std::fs::read(folder.path().join("kinds.json")).unwrap();
        let kinds: Vec<Value> = serde_json::from_slice(&text).unwrap();
        Self {
            folder,
            kinds: kinds.into_iter().map(Kind::of).collect(),
        }
    }

    pub(super) fn all(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, file: &str) -> String {
        self.folder().join(file).to_str().unwrap().to_owned()
    }

    /// The position of h2gate's listener that serves it; kinds that are read from a source have one each, in their
    /// order.
    pub(super) fn listener_of(&self, kind: &Kind) -> Option<usize> {
        let mut fed = self.kinds.iter().filter(|kind| kind.sort != Sort::Acme);
        fed.position(|other| other.id == kind.id)
    }

    /// The question about the chain that is served there as this kind.
    pub(super) fn serve(&self, kind: &Kind, port: u16) -> Question {
        let host = kind.text("host").unwrap_or("good.pairs.test").to_owned();
        let (host, roots) = match kind.sort {
            Sort::Chain => (host, format!("{}.roots", kind.id)),
            Sort::Form | Sort::Secret => (host, "good.roots".to_owned()),
            Sort::Acme => (format!("{}.test", kind.id), ACME_ROOT.to_owned()),
        };
        Question {
            id: kind.id.clone(),
            asked: Asked::Serve {
                port,
                host,
                roots: self.path(&roots),
            },
        }
    }

    /// The pair of this kind in files, where clients have it in files. `good` is where it may be shown.
    pub(super) fn read(&self, kind: &Kind, good: u16) -> Option<Question> {
        let files = kind.value["files"].as_array()?;
        let file = |position: usize| files.get(position).map(|file| self.path(file.as_str().unwrap()));
        Some(Question {
            id: kind.id.clone(),
            asked: Asked::Read {
                good,
                roots: self.path("good.roots"),
                chain: file(0)?,
                key: file(1),
                passphrase: kind.text("passphrase").unwrap_or_default().to_owned(),
                only_key: kind.value["only_key"] == true,
            },
        })
    }
}

impl Kind {
    fn of(value: Value) -> Self {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Self {
            id: text("id").unwrap(),
            group: text("group").unwrap(),
            what: text("what").unwrap(),
            why: text("why").unwrap(),
            sort: match value["sort"].as_str().unwrap() {
                "chain" => Sort::Chain,
                "form" => Sort::Form,
                "secret" => Sort::Secret,
                "acme" => Sort::Acme,
                other => panic!("{other}"),
            },
            like: text("like"),
            value,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value[name].as_str()
    }
}
