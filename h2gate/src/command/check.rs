//! `h2gate check`: everything that is wrong with a configuration and its certificates, at once.

use std::path::Path;
use std::process::ExitCode;

use certmgr::{Source, Summary};
use certstore::{UnixTime, rfc3339};
use rustix::fs::{Access, access};
use serde_json::{Value, json};

use crate::cli::{CheckArguments, Output};
use crate::config::{self, Diagnostics, Examination, Place, Resolved, Spanned};
use crate::remote_text::json_lines;

mod date;
mod sources;
mod summary;
mod trust;

use sources::Checked;
use trust::Contents;

/// Checks a configuration file and the certificates that it names; nothing is changed or started.
pub fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let report = Report::of(&arguments.config, UnixTime::now());
    match arguments.output {
        Output::Text => super::print(&report.text(arguments.strict))?,
        Output::Json => super::print(&json_lines(&report.json(arguments.strict)))?,
    }
    Ok(super::exit_code(report.passes(arguments.strict)))
}

/// The result of a check.
struct Report {
    found: Diagnostics,
    now: UnixTime,
    certificates: Vec<Checked<Summary>>,
    trust_bundles: Vec<Checked<Contents>>,
    /// `None` if the configuration itself cannot be used.
    resolved: Option<Resolved>,
}

impl Report {
    fn of(path: &Path, now: UnixTime) -> Self {
        let Examination {
            mut found,
            certificates,
            trust_bundles,
            state_dir,
            access_log,
            resolved,
        } = config::examine(path);
        sources::placeholders(&mut found);
        let is_acme = |source: &Source| matches!(source, Source::Acme(_));
        let needs_state = certificates.iter().any(|one| is_acme(&one.config.source));
        let kept_in = state_dir.as_ref().map(|directory| directory.value.as_path());
        let trust_bundles = trust_bundles
            .iter()
            .map(|one| trust::check(one, kept_in, now, &mut found))
            .collect::<Vec<_>>();
        let certificates = certificates
            .iter()
            .map(|one| {
                let anchors = trust::anchors(&trust_bundles, one.config.trust.as_deref());
                sources::certificate(one, anchors, kept_in, now, &mut found)
            })
            .collect::<Vec<_>>();
        if let Some(directory) = state_dir {
            sources::state_dir(&directory, needs_state, &mut found);
            sources::unread(&directory, &certificates, &mut found);
        }
        if let Some(Spanned { value: path, place }) = access_log {
            check_access_log(&path, place, &mut found);
        }
        Self {
            found,
            now,
            certificates,
            trust_bundles,
            resolved,
        }
    }

    fn passes(&self, strict: bool) -> bool {
        self.found.errors() == 0 && !(strict && self.found.warnings() > 0)
    }

    fn text(&self, strict: bool) -> String {
        let mut text = self.found.to_string();
        let file = self.found.path().display();
        let verdict = match (self.passes(strict), self.found.is_empty()) {
            (true, true) => "good".to_owned(),
            (true, false) => format!("good, with {}", self.found.count()),
            (false, _) if self.found.errors() == 0 => {
                format!("{}, and --strict was given", self.found.count())
            }
            (false, _) => self.found.count(),
        };
        text.push_str(&format!("{file}: {verdict}\n"));
        if let (true, Some(resolved)) = (self.passes(strict), &self.resolved) {
            text.push_str(&summary::text(
                resolved,
                &self.certificates,
                &self.trust_bundles,
                self.now,
            ));
        }
        text
    }

    fn json(&self, strict: bool) -> Value {
        let certificates = self.certificates.iter().map(|checked| {
            let summary = checked.contents();
            json!({
                "name": checked.name,
                "source": checked.source,
                "usable": checked.is_usable(),
                "names": summary.map(|s| s.names.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "not_before": summary.map(|s| rfc3339(s.not_before)),
                "not_after": summary.map(|s| rfc3339(s.not_after)),
                "key": summary.map(|s| s.key_kind.to_string()),
                "fingerprint": summary.map(|s| s.fingerprint.to_string()),
            })
        });
        let trust_bundles = self.trust_bundles.iter().map(|checked| {
            let contents = checked.contents();
            json!({
                "name": checked.name,
                "source": checked.source,
                "usable": checked.is_usable(),
                "cas": contents.map(|c| c.cas),
                "revocation_lists": contents.map(|c| c.revocation_lists),
                "until": contents.and_then(|c| c.until).map(rfc3339),
            })
        });
        json!({
            "file": self.found.path().display().to_string(),
            "good": self.passes(strict),
            "errors": self.found.errors(),
            "warnings": self.found.warnings(),
            "diagnostics": self.found.json(),
            "certificates": certificates.collect::<Vec<_>>(),
            "trust_bundles": trust_bundles.collect::<Vec<_>>(),
        })
    }
}

/// Reports if `run` could not open the file of the access log. Nothing is created.
fn check_access_log(path: &Path, place: Place, found: &mut Diagnostics) {
    if let Some((what, remedy)) = unusable_log(path) {
        let message = format!("the access log {} {what}", path.display());
        found.error(place, message, Some(remedy));
    }
}

/// The reason why the file of the access log cannot be opened, and the remedy.
fn unusable_log(path: &Path) -> Option<(String, String)> {
    if path.is_dir() {
        return Some(("is a directory".into(), "give the path of a file in it".into()));
    }
    if path.exists() {
        let error = access(path, Access::WRITE_OK).err()?;
        let remedy = "let the user that h2gate runs as write it".to_owned();
        return Some((format!("cannot be written: {error}"), remedy));
    }
    let folder = sources::folder_of(path);
    if !folder.is_dir() {
        let reason = format!("cannot be created: there is no directory {}", folder.display());
        return Some((reason, "create the directory, or give another path".to_owned()));
    }
    let error = access(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let remedy = format!("let the user that h2gate runs as write in {}", folder.display());
    Some((format!("cannot be created: {error}"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("directory")).unwrap();
        let path = folder.path().join("h2gate.yaml");
        std::fs::write(&path, text).unwrap();
        let report = Report::of(&path, UnixTime::now());
        report
            .text(false)
            .lines()
            .filter(|line| line.contains("error:"))
            .map(str::to_owned)
            .collect()
    }

    const LISTENER: &str = "listeners: [{ name: a, address: \"127.0.0.1:1\", tls: { certificates: [c] } }]\n";

    #[test]
    fn an_unreadable_key_is_reported_beside_an_unreadable_chain() {
        let reported = reported(&format!(
            "{LISTENER}certificates: [{{ name: c, files: {{ chain: none.pem, key: directory }} }}]\n"
        ));
        let [chain, key] = reported.as_slice() else {
            panic!("{reported:?}")
        };
        assert!(chain.contains("none.pem: cannot be read"), "{chain}");
        assert!(
            key.contains("directory: cannot be read: it is a directory"),
            "{key}"
        );
    }

    #[test]
    fn what_remote_sources_need_from_the_disk_is_reported_at_its_place() {
        let reported = reported(
            r#"listeners:
  - { name: a, address: "127.0.0.1:1", tls: { certificates: [c], client_auth: { trust: t } } }
state_dir: h2gate.yaml
certificates:
  - name: c
    domains: [a.example.com]
    acme:
      directory: https://ca.example.com/dir
      accept_terms: true
      ca_file: h2gate.yaml
      external_account: { kid: k, hmac_key: { file: directory } }
      challenge: dns-01
      dns: { exec: { command: [./h2gate.yaml] } }
trust_bundles:
  - name: t
    files: { ca: none.pem, crl: none.crl }
"#,
        );
        let expected = [
            (":3:12: ", "is no directory"),
            (":10:16: ", "holds no certificate"),
            (":11:53: ", "holds nothing"),
            (":13:32: ", "cannot be run"),
            (":16:18: ", "the CA certificates in"),
            (":16:33: ", "the revocation lists in"),
        ];
        assert_eq!(reported.len(), expected.len(), "{reported:#?}");
        for (line, (place, words)) in reported.iter().zip(expected) {
            assert!(line.contains(place) && line.contains(words), "{line}: {words}");
        }
    }

    #[test]
    fn the_default_state_directory_that_nobody_needs_is_no_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (place, needed, expected) in [
            (Place::FILE, false, (0, 0)),
            (Place::FILE, true, (1, 0)),
            (
                Place {
                    line: 1,
                    column: 1,
                    length: 1,
                },
                false,
                (0, 1),
            ),
        ] {
            let mut found = Diagnostics::new(Path::new("x.yaml"), "state_dir: file\n");
            let directory = Spanned {
                value: file.clone(),
                place,
            };
            sources::state_dir(&directory, needed, &mut found);
            assert_eq!((found.errors(), found.warnings()), expected, "{found}");
        }
        let mut found = Diagnostics::new(Path::new("x.yaml"), "");
        let value = folder.path().join("a/b/c");
        sources::state_dir(
            &Spanned {
                value,
                place: Place::FILE,
            },
            true,
            &mut found,
        );
        assert!(found.is_empty(), "{found}");
    }

    #[test]
    fn an_access_log_that_cannot_be_opened_is_reported_at_its_place() {
        for (path, words) in [
            ("none/a.log", "there is no directory"),
            ("directory", "is a directory"),
        ] {
            let reported = reported(&format!(
                "listeners: [{{ name: a, address: \"127.0.0.1:1\" }}]\naccess_log: {{ path: {path} }}\n"
            ));
            let [line] = reported.as_slice() else {
                panic!("{reported:?}")
            };
            assert!(
                line.contains(words) && line.contains("h2gate.yaml:2:21: "),
                "{line}"
            );
        }
    }
}
