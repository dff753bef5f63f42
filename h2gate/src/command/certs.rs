//! `h2gate certs`: the certificates of a running program, over gRPC on its admin address.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cli::{CertsArguments, CertsCommand, Output};

mod admin;
mod client;
mod failure;
mod json;
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
    let output = arguments.output;
    match &arguments.command {
        CertsCommand::List => {
            let all = connect().await?.list().await?;
            say(
                output,
                || list::text(&all, Now::read(), table::width()),
                || json::certificates(&all),
            )
        }
        CertsCommand::Show { name } => {
            let certificate = connect().await?.show(name).await?;
            say(
                output,
                || show::text(&certificate, Now::read()),
                || json::certificate(&certificate),
            )
        }
        CertsCommand::Renew { name, wait, timeout } => {
            let wait = wait.then_some(*timeout);
            renew::renew(&mut connect().await?, name, wait, output).await
        }
        CertsCommand::Rollback { name, to } => {
            let fingerprint = connect().await?.roll_back(name, to.as_deref()).await?;
            say(
                output,
                || {
                    let short = words::short(&fingerprint);
                    format!("{name}: certificate {short} serves again; what served before is excluded\n")
                },
                || json::rolled_back(name, &fingerprint),
            )
        }
        CertsCommand::Revoke { name, reason, yes } => {
            revoke::revoke(admin, name, *reason, *yes, output).await
        }
        CertsCommand::RollAccountKey { name } => {
            connect().await?.roll_account_key(name).await?;
            say(
                output,
                || format!("{name}: its account has a new key, and the CA knows it\n"),
                || json::outcome(name, "rolled"),
            )
        }
        CertsCommand::Plan { horizon } => {
            let plan = connect().await?.plan(*horizon).await?;
            say(
                output,
                || plan::text(&plan, *horizon, Now::read(), table::width()),
                || json::plan(&plan),
            )?;
            Ok(match plan::is_inside(&plan) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        }
    }
}

/// Prints a result in the form that was asked for.
fn say(
    output: Output,
    text: impl FnOnce() -> String,
    json: impl FnOnce() -> serde_json::Value,
) -> Result<ExitCode> {
    match output {
        Output::Text => super::print(&text())?,
        Output::Json => super::print(&json::text(&json()))?,
    }
    Ok(ExitCode::SUCCESS)
}
