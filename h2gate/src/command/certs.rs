//! `h2gate certs`: the certificates of a running program, over gRPC on its admin address.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use proto::certs::v1 as pb;
use serde_json::{Value, json};

use super::exit_code;
use crate::cli::{CertsArguments, CertsCommand, Output};
use crate::remote_text::json_lines;

mod admin;
mod client;
mod failure;
mod list;
mod plan;
mod renew;
mod revoke;
mod show;
mod table;
mod wishes;
mod words;

use admin::AdminServer;
use client::{CA_DEADLINE, Client, Service};
use words::Now;

/// Does what the arguments say; returns the exit code.
pub fn certs(arguments: &CertsArguments) -> Result<ExitCode> {
    let admin = AdminServer::find(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(answer(&admin, arguments))
}

async fn answer(admin: &AdminServer, arguments: &CertsArguments) -> Result<ExitCode> {
    let connect = || Client::connect(admin);
    let (output, now) = (arguments.output, Now::read());
    match &arguments.command {
        CertsCommand::List => {
            let list = async |service: &mut Service| service.list(pb::ListRequest {}).await;
            let all = connect().await?.call(list).await?;
            print_result(output, &list::text(&all, now, table::width()), json!(all))
        }
        CertsCommand::Show { name } => {
            let certificate = connect().await?.show(name).await?;
            print_result(output, &show::text(&certificate, now), json!(certificate))
        }
        CertsCommand::Renew { name, wait, timeout } => {
            let wait = wait.then_some(*timeout);
            renew::renew(&mut connect().await?, name, wait, output).await
        }
        CertsCommand::Rollback { name, to } => {
            let request = pb::RollbackRequest {
                name: name.clone(),
                fingerprint: to.clone().unwrap_or_default(),
            };
            let roll_back = async |service: &mut Service| service.rollback(request).await;
            let pb::RollbackResponse { fingerprint } = connect().await?.call(roll_back).await?;
            let short = words::short(&fingerprint);
            print_result(
                output,
                &format!("{name}: certificate {short} serves again; what served before is excluded\n"),
                json!({ "name": name, "outcome": "rolled_back", "fingerprint": fingerprint }),
            )
        }
        CertsCommand::Revoke { name, reason, yes } => {
            revoke::revoke(admin, name, *reason, *yes, output).await
        }
        CertsCommand::RollAccountKey { name } => {
            let request = pb::RollAccountKeyRequest { name: name.clone() };
            let roll = async |service: &mut Service| service.roll_account_key(request).await;
            connect().await?.call_within(CA_DEADLINE, roll).await?;
            print_result(
                output,
                &format!("{name}: its account has a new key, and the CA knows it\n"),
                json!({ "name": name, "outcome": "rolled" }),
            )
        }
        CertsCommand::Plan { horizon } => {
            let wanted = prost_types::Duration::try_from(*horizon).ok();
            let plan = async |service: &mut Service| service.plan(pb::PlanRequest { horizon: wanted }).await;
            let plan = connect().await?.call(plan).await?;
            let is_inside = plan.limits.iter().all(|limit| limit.inside);
            let mut json = json!(plan);
            if let Some(members) = json.as_object_mut() {
                members.insert("inside".to_owned(), is_inside.into());
            }
            print_result(output, &plan::text(&plan, *horizon, now, table::width()), json)?;
            Ok(exit_code(is_inside))
        }
    }
}

/// Prints a result in the form that was asked for. JSON of messages is in the mapping of proto3; `docs/operations.md`
/// has the keys.
fn print_result(output: Output, text: &str, json: Value) -> Result<ExitCode> {
    match output {
        Output::Text => super::print(text)?,
        Output::Json => super::print(&json_lines(&json))?,
    }
    Ok(ExitCode::SUCCESS)
}
