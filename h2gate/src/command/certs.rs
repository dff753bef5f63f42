//! `h2gate certs`: the certificates of a running program, over gRPC on its admin address.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use proto::certs::v1 as pb;
use serde_json::{Value, json};

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
use client::Client;
use words::Now;

/// Does what the arguments say; tells the exit code.
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
            let all = connect().await?.list().await?;
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
            let fingerprint = connect().await?.roll_back(name, to.as_deref()).await?;
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
            connect().await?.roll_account_key(name).await?;
            print_result(
                output,
                &format!("{name}: its account has a new key, and the CA knows it\n"),
                json!({ "name": name, "outcome": "rolled" }),
            )
        }
        CertsCommand::Plan { horizon } => {
            let plan = connect().await?.plan(*horizon).await?;
            let is_inside = plan.limits.iter().all(|limit| limit.inside);
            let text = plan::text(&plan, *horizon, now, table::width());
            let pb::PlanResponse {
                orders,
                limits,
                complete,
            } = plan;
            print_result(
                output,
                &text,
                json!({ "orders": orders, "limits": limits, "complete": complete, "inside": is_inside }),
            )?;
            Ok(match is_inside {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
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
