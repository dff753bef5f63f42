//! The traffic of the demo against the gateway: kept connections with RPCs of all four
//! kinds, a RouteChat on each that stays open from start to end, and fresh connections.

use std::sync::Arc;
use std::time::Duration;

use proto::routeguide::route_guide_client::RouteGuideClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::dialer::Dialer;
use super::stop::Stop;
use super::tally::{Kind, Tally};

mod calls;

/// Connections that are never given up.
const KEPT: usize = 4;
/// Between two RPCs on a kept connection: lively, yet little to do for a laptop.
const PACE: Duration = Duration::from_millis(10);
const CHAT_PACE: Duration = Duration::from_millis(100);
const FRESH_PACE: Duration = Duration::from_millis(200);
/// After a failure, so that a dead gateway is not hammered.
const BACKOFF: Duration = Duration::from_millis(500);
/// For one RPC, or one exchange on an open stream.
const RPC_DEADLINE: Duration = Duration::from_secs(5);

/// Client names for the certificate: an exact one, one that only the wildcard covers, and an
/// address, which travels without SNI and meets the default.
const NAMES: [&str; 3] = ["localhost", "guide.demo.local", "127.0.0.1"];

/// Runs until told to stop; returns when the last RPC has ended.
pub(super) async fn run(dialer: Dialer, tally: Arc<Tally>, stop: Stop) {
    let mut tasks = JoinSet::new();
    for name in NAMES.into_iter().cycle().take(KEPT) {
        tasks.spawn(kept_connection(
            dialer.clone(),
            name,
            Arc::clone(&tally),
            stop.clone(),
        ));
    }
    tasks.spawn(fresh_connections(dialer, Arc::clone(&tally), stop));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tally.failure(&anyhow::Error::from(error).context("a client of the demo broke"));
        }
    }
}

async fn kept_connection(dialer: Dialer, name: &'static str, tally: Arc<Tally>, mut stop: Stop) {
    let channel = loop {
        match dialer.kept(name).await {
            Ok(channel) => break channel,
            Err(error) => tally.failure(&error),
        }
        if !stop.pause(BACKOFF).await {
            return;
        }
    };
    let client = RouteGuideClient::new(channel);
    tokio::join!(
        short_rpcs(client.clone(), &tally, stop.clone()),
        long_chats(client, &tally, stop),
    );
}

/// The four kinds, one after the other.
async fn short_rpcs(mut client: RouteGuideClient<Channel>, tally: &Tally, mut stop: Stop) {
    for (turn, kind) in Kind::ALL.into_iter().cycle().enumerate() {
        let succeeded = tally
            .rpc(kind, RPC_DEADLINE, calls::call(&mut client, kind, turn))
            .await;
        if !stop.pause(if succeeded { PACE } else { BACKOFF }).await {
            return;
        }
    }
}

/// One RouteChat that lives across rotations; another only if it fails.
async fn long_chats(mut client: RouteGuideClient<Channel>, tally: &Tally, mut stop: Stop) {
    while !stop.is_stopped() {
        tally.counts().long_chats += 1;
        if let Err(error) = long_chat(&mut client, tally, &mut stop).await {
            tally.failure(&error.context("RouteChat held open"));
            stop.pause(BACKOFF).await;
        }
    }
}

async fn long_chat(
    client: &mut RouteGuideClient<Channel>,
    tally: &Tally,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let mut chat = calls::Chat::open(client, RPC_DEADLINE).await?;
    loop {
        chat.exchange(RPC_DEADLINE).await?;
        tally.counts().long_chat_notes += calls::Chat::NOTES_PER_EXCHANGE;
        if !stop.pause(CHAT_PACE).await {
            return chat.finish(RPC_DEADLINE).await;
        }
    }
}

/// A new connection for each RPC, so that every handshake shows what serves at that moment.
async fn fresh_connections(dialer: Dialer, tally: Arc<Tally>, mut stop: Stop) {
    let names = NAMES.into_iter().cycle();
    for (turn, (kind, name)) in Kind::ALL.into_iter().cycle().zip(names).enumerate() {
        match dialer.fresh(name).await {
            Ok(channel) => {
                let mut client = RouteGuideClient::new(channel);
                tally
                    .rpc(kind, RPC_DEADLINE, calls::call(&mut client, kind, turn))
                    .await;
            }
            Err(error) => tally.failure(&error.context("fresh connection")),
        }
        if !stop.pause(FRESH_PACE).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
