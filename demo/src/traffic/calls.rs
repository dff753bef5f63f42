//! One RPC of each kind, with its answer checked: a wrong answer is a failure like any other.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use futures_util::stream;
use proto::routeguide::route_guide_client::RouteGuideClient;
use proto::routeguide::{Feature, Point, Rectangle, RouteNote};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::Kind;
use crate::route_guide::{SERVED_BY, features};

type Client = RouteGuideClient<Channel>;

/// Makes one RPC; `turn` varies what is asked. Tells which backend has answered.
pub(super) async fn call(client: &mut Client, kind: Kind, turn: usize) -> anyhow::Result<String> {
    match kind {
        Kind::GetFeature => get_feature(client, turn).await,
        Kind::ListFeatures => list_features(client, turn).await,
        Kind::RecordRoute => record_route(client, turn).await,
        Kind::RouteChat => route_chat(client, turn).await,
    }
}

/// The data set from the position that belongs to a turn, without end.
fn places(turn: usize) -> impl Iterator<Item = &'static (String, Point)> {
    features::all().iter().cycle().skip(turn % features::all().len())
}

async fn get_feature(client: &mut Client, turn: usize) -> anyhow::Result<String> {
    let (name, point) = places(turn).next().context("no features")?;
    let answer = client.get_feature(*point).await.map_err(failed)?;
    let expected = Feature {
        name: name.clone(),
        location: Some(*point),
    };
    ensure!(
        *answer.get_ref() == expected,
        "wrong feature: {:?}",
        answer.get_ref()
    );
    served_by(answer.metadata())
}

async fn list_features(client: &mut Client, turn: usize) -> anyhow::Result<String> {
    let corners: Vec<Point> = places(turn)
        .map(|(_, point)| *point)
        .step_by(23)
        .take(2)
        .collect();
    let &[lo, hi] = corners.as_slice() else {
        return Err(anyhow!("no features"));
    };
    let answer = client
        .list_features(Rectangle {
            lo: Some(lo),
            hi: Some(hi),
        })
        .await
        .map_err(failed)?;
    let backend = served_by(answer.metadata())?;
    let mut listed = answer.into_inner();
    let mut expected = features::all()
        .iter()
        .filter(|(_, point)| features::inside(*point, lo, hi));
    while let Some(feature) = listed.message().await.map_err(failed)? {
        let next = expected.next().map(|(name, point)| Feature {
            name: name.clone(),
            location: Some(*point),
        });
        ensure!(
            next.as_ref() == Some(&feature),
            "wrong feature in the list: {feature:?}"
        );
    }
    ensure!(expected.next().is_none(), "the list of features ended early");
    Ok(backend)
}

async fn record_route(client: &mut Client, turn: usize) -> anyhow::Result<String> {
    const POINTS: usize = 10;
    let way: Vec<Point> = places(turn).take(POINTS).map(|(_, point)| *point).collect();
    let legs = way.iter().zip(way.iter().skip(1));
    let metres: f64 = legs.map(|(from, to)| features::distance(*from, *to)).sum();
    let answer = client.record_route(stream::iter(way)).await.map_err(failed)?;
    let summary = answer.get_ref();
    let as_expected = summary.point_count as usize == POINTS
        && summary.feature_count as usize == POINTS
        && summary.distance == metres as i32;
    ensure!(as_expected, "wrong summary of the route: {summary:?}");
    served_by(answer.metadata())
}

async fn route_chat(client: &mut Client, turn: usize) -> anyhow::Result<String> {
    let place = places(turn).next().map(|(_, point)| *point);
    let note = |message: &str| RouteNote {
        location: place,
        message: message.to_owned(),
    };
    let notes = stream::iter([note("first"), note("second"), note("third")]);
    let answer = client.route_chat(notes).await.map_err(failed)?;
    let backend = served_by(answer.metadata())?;
    let mut answers = answer.into_inner();
    let mut heard = Vec::new();
    while let Some(note) = answers.message().await.map_err(failed)? {
        heard.push(note);
    }
    // The second note hears the first, the third hears both.
    ensure!(
        heard == [note("first"), note("first"), note("second")],
        "wrong notes: {heard:?}"
    );
    Ok(backend)
}

/// A RouteChat that is held open.
pub(super) struct Chat {
    say: mpsc::Sender<RouteNote>,
    answers: Streaming<RouteNote>,
    exchanges: i32,
}

impl Chat {
    /// Two notes there, one back.
    pub(super) const NOTES_PER_EXCHANGE: u64 = 3;

    pub(super) async fn open(client: &mut Client, deadline: Duration) -> anyhow::Result<Self> {
        let (say, said) = mpsc::channel(1);
        let answer = within(deadline, client.route_chat(ReceiverStream::new(said))).await?;
        Ok(Self {
            say,
            answers: answer.into_inner(),
            exchanges: 0,
        })
    }

    /// Leaves two notes at a place of their own and hears the first of them again.
    pub(super) async fn exchange(&mut self, deadline: Duration) -> anyhow::Result<()> {
        self.exchanges = self.exchanges.wrapping_add(1);
        let place = Point {
            latitude: self.exchanges,
            longitude: self.exchanges,
        };
        let note = |message: &str| RouteNote {
            location: Some(place),
            message: message.to_owned(),
        };
        let say = async {
            self.say.send(note("here")).await?;
            self.say.send(note("again")).await
        };
        let said = tokio::time::timeout(deadline, say)
            .await
            .context("no room for another note")?;
        // The answers say better than the closed channel why the stream has ended.
        let answer = within(deadline, self.answers.message()).await?;
        said.context("the stream takes no more notes")?;
        ensure!(answer == Some(note("here")), "wrong note: {answer:?}");
        Ok(())
    }

    /// Ends the chat; it must end well.
    pub(super) async fn finish(mut self, deadline: Duration) -> anyhow::Result<()> {
        drop(self.say);
        let answer = within(deadline, self.answers.message()).await?;
        ensure!(answer.is_none(), "a note after the end: {answer:?}");
        Ok(())
    }
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Status>>) -> anyhow::Result<T> {
    let result = tokio::time::timeout(deadline, call).await;
    result
        .with_context(|| format!("no answer within {deadline:?}"))?
        .map_err(failed)
}

fn served_by(metadata: &MetadataMap) -> anyhow::Result<String> {
    let name = metadata.get(SERVED_BY).and_then(|name| name.to_str().ok());
    Ok(name
        .with_context(|| format!("the metadata {SERVED_BY} is missing"))?
        .to_owned())
}

/// A status in one line. Its own Display lists the whole metadata; the cause, where there is
/// one, says more.
fn failed(status: Status) -> anyhow::Error {
    let (code, message) = (status.code(), status.message().to_owned());
    match std::error::Error::source(&status) {
        Some(source) => anyhow!("{code:?}: {message}: {source}"),
        None => anyhow!("{code:?}: {message}"),
    }
}
