//! `h2gate check`: everything that is wrong with a configuration and its certificates, at once.

use std::process::ExitCode;

use certmgr::{CertificateConfig, Summary};
use certstore::{Name, UnixTime};
use serde_json::{Value, json};

use crate::cli::{CheckArguments, Output};
use crate::config::{self, Diagnostics, Examination, LocatedCertificate, Resolved};

mod date;
mod summary;

/// A certificate with less time left than this is worth a word.
const SOON_SECONDS: u64 = 14 * 86_400;

/// Checks a configuration file and the certificates that it names; nothing is changed or started.
pub fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let report = Report::of(&arguments.config, UnixTime::now());
    match arguments.output {
        Output::Text => super::print(&report.text(arguments.strict))?,
        Output::Json => super::print(&format!("{:#}\n", report.json(arguments.strict)))?,
    }
    Ok(if report.passes(arguments.strict) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What was found.
struct Report {
    found: Diagnostics,
    now: UnixTime,
    certificates: Vec<Checked>,
    /// `None` if the configuration itself cannot be used.
    resolved: Option<Resolved>,
}

/// A certificate that could be read and proved, or not.
struct Checked {
    name: String,
    summary: Option<Summary>,
}

impl Report {
    fn of(path: &std::path::Path, now: UnixTime) -> Self {
        let Examination {
            mut found,
            certificates,
            resolved,
        } = config::examine(path);
        let certificates = certificates
            .iter()
            .map(|one| check_certificate(one, now, &mut found))
            .collect();
        Self {
            found,
            now,
            certificates,
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
            text.push_str(&summary::text(resolved, &self.certificates, self.now));
        }
        text
    }

    fn json(&self, strict: bool) -> Value {
        let certificates = self.certificates.iter().map(|checked| {
            let summary = checked.summary.as_ref();
            json!({
                "name": checked.name,
                "usable": summary.is_some(),
                "names": summary.map(|s| s.names.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "not_before": summary.map(|s| date::date_time(s.not_before)),
                "not_after": summary.map(|s| date::date_time(s.not_after)),
                "key": summary.map(|s| s.key_kind.to_string()),
                "generation": summary.map(|s| s.generation.to_string()),
            })
        });
        json!({
            "file": self.found.path().display().to_string(),
            "good": self.passes(strict),
            "errors": self.found.errors(),
            "warnings": self.found.warnings(),
            "diagnostics": self.found.json(),
            "certificates": certificates.collect::<Vec<_>>(),
        })
    }
}

fn check_certificate(located: &LocatedCertificate, now: UnixTime, found: &mut Diagnostics) -> Checked {
    let (one, place) = (&located.certificate, located.name_place);
    let mut domains = Vec::new();
    for domain in &one.domains {
        match Name::parse(domain) {
            Ok(name) => domains.push(name),
            Err(error) => found.error(place, format!("certificate `{}`: {error}", one.name), None),
        }
    }
    let mut wanted = CertificateConfig::from_files(one.name.clone(), one.chain.clone(), one.key.clone());
    wanted.domains = domains;
    let summary = match certmgr::check(&wanted, now) {
        Ok(summary) => Some(summary),
        Err(error) => {
            let files = error
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("certificate `{}`: {files}: {}", one.name, error.reason);
            // At the path, if one file alone is to blame.
            let place = match error.files.as_slice() {
                [file] if *file == one.chain => located.chain_place,
                [file] if *file == one.key => located.key_place,
                _ => place,
            };
            found.error(place, message, Some(error.remedy().to_owned()));
            None
        }
    };
    if let Some(summary) = &summary {
        for warning in &summary.warnings {
            found.warning(place, format!("certificate `{}`: {warning}", one.name), None);
        }
        let left = summary.not_after.as_secs().saturating_sub(now.as_secs());
        if left < SOON_SECONDS {
            let until = date::date(summary.not_after);
            let message = format!(
                "certificate `{}` is valid only until {until}, {}",
                one.name,
                date::days(left)
            );
            found.warning(place, message, Some("put a newer pair in its place".to_owned()));
        }
    }
    Checked {
        name: one.name.clone(),
        summary,
    }
}
