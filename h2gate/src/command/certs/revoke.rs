//! `h2gate certs revoke`: asks whether it is meant, for it cannot be undone.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Result, bail};
use proto::certs::v1 as pb;
use serde_json::json;

use super::admin::AdminServer;
use super::client::{Client, Service};
use super::print_result;
use super::words::{Now, at_and_when, one_line, short};
use crate::cli::{Output, Reason};

pub(super) async fn revoke(
    admin: &AdminServer,
    name: &str,
    reason: Reason,
    yes: bool,
    output: Output,
) -> Result<ExitCode> {
    if !yes && !std::io::stdin().is_terminal() {
        bail!(
            "revoking cannot be undone, and there is no terminal to ask on; nothing is done (--yes does not ask)"
        );
    }
    let certificate = Client::connect(admin).await?.show(name).await?;
    // What did not come from a CA is refused by the program; there is nothing to ask about.
    if !yes && certificate.acme.is_some() && !is_meant(&certificate)? {
        bail!("nothing is done");
    }
    let request = pb::RevokeRequest {
        name: name.to_owned(),
        reason: wire(reason).into(),
    };
    // The answer may have taken longer than an idle connection lives.
    let revoke = async |service: &mut Service| service.revoke(request).await;
    Client::connect(admin).await?.call(revoke).await?;
    print_result(
        output,
        &format!(
            "{name}: its successor is ordered; once that serves, the old one is revoked. `h2gate certs show {name}` \
             shows how it goes\n"
        ),
        json!({ "name": name, "outcome": "begun" }),
    )
}

/// Blocks: nothing else runs while a person thinks.
fn is_meant(certificate: &pb::Certificate) -> Result<bool> {
    let mut out = std::io::stderr().lock();
    write!(out, "{}", question(certificate, Now::read()))?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn question(certificate: &pb::Certificate, now: Now) -> String {
    let serving = certificate.serving.as_ref();
    let what = serving.map_or("nothing serves yet".to_owned(), |version| {
        let until = version.not_after_time.as_ref();
        let until = until.map(|until| at_and_when(until, now));
        format!(
            "certificate {} for {}, valid until {}",
            short(&version.fingerprint),
            version.names.join(", "),
            until.unwrap_or_default()
        )
    });
    one_line(&format!(
        "{}: {what}. Replace and revoke it? This cannot be undone. [y/N] ",
        certificate.name
    ))
}

fn wire(reason: Reason) -> pb::revoke_request::Reason {
    use pb::revoke_request::Reason as Wire;
    match reason {
        Reason::Unspecified => Wire::Unspecified,
        Reason::KeyCompromise => Wire::KeyCompromise,
        Reason::AffiliationChanged => Wire::AffiliationChanged,
        Reason::Superseded => Wire::Superseded,
        Reason::CessationOfOperation => Wire::CessationOfOperation,
    }
}
