//! A real RouteGuide backend: h2c on a free port of the loopback address, with gRPC health and
//! reflection, as the demo and the end-to-end tests put behind the gateway.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use proto::routeguide::route_guide_server::{RouteGuide, RouteGuideServer};
use proto::routeguide::{Feature, Point, Rectangle, RouteNote, RouteSummary};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

pub mod features;

/// Response metadata that carries the name of the backend that answered.
pub const SERVED_BY: &str = "x-served-by";

/// Notes that one RouteChat remembers; the oldest is forgotten first.
pub const MAX_NOTES: usize = 1_000;

/// The service. Each instance has a name and tells it in every answer, errors included.
#[derive(Debug, Clone)]
pub struct Guide {
    name: MetadataValue<Ascii>,
}

impl Guide {
    /// A guide of this name: visible ASCII, since it travels as metadata.
    pub fn new(name: &str) -> io::Result<Self> {
        let name = name.parse().map_err(|_| {
            let message = format!("the name of a backend must be visible ASCII, not {name:?}");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        Ok(Self { name })
    }

    fn signed<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        response.metadata_mut().insert(SERVED_BY, self.name.clone());
        response
    }

    fn refused(&self, mut status: Status) -> Status {
        status.metadata_mut().insert(SERVED_BY, self.name.clone());
        status
    }
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RouteGuide for Guide {
    async fn get_feature(&self, request: Request<Point>) -> Result<Response<Feature>, Status> {
        let point = request.into_inner();
        on_earth(point).map_err(|status| self.refused(status))?;
        let name = features::at(point).unwrap_or_default();
        Ok(self.signed(Feature {
            name: name.to_owned(),
            location: Some(point),
        }))
    }

    type ListFeaturesStream = Messages<Feature>;

    async fn list_features(
        &self,
        request: Request<Rectangle>,
    ) -> Result<Response<Messages<Feature>>, Status> {
        let Rectangle { lo, hi } = request.into_inner();
        let (Some(lo), Some(hi)) = (lo, hi) else {
            let status = Status::invalid_argument("a rectangle needs both corners, lo and hi");
            return Err(self.refused(status));
        };
        on_earth(lo)
            .and_then(|()| on_earth(hi))
            .map_err(|status| self.refused(status))?;
        let found = features::all()
            .iter()
            .filter(move |(_, point)| features::inside(*point, lo, hi));
        let found = found.map(|(name, point)| {
            Ok(Feature {
                name: (*name).clone(),
                location: Some(*point),
            })
        });
        Ok(self.signed(stream::iter(found).boxed()))
    }

    async fn record_route(
        &self,
        request: Request<Streaming<Point>>,
    ) -> Result<Response<RouteSummary>, Status> {
        let mut points = request.into_inner();
        let started_at = Instant::now();
        let mut summary = RouteSummary::default();
        let mut metres = 0.0;
        let mut last = None;
        while let Some(point) = points.message().await? {
            on_earth(point).map_err(|status| self.refused(status))?;
            summary.point_count = summary.point_count.saturating_add(1);
            if features::at(point).is_some() {
                summary.feature_count = summary.feature_count.saturating_add(1);
            }
            if let Some(last) = last.replace(point) {
                metres += features::distance(last, point);
            }
        }
        // Float to integer casts saturate: a traveller beyond 53 times round the earth reads the maximum.
        summary.distance = metres as i32;
        summary.elapsed_time = i32::try_from(started_at.elapsed().as_secs()).unwrap_or(i32::MAX);
        Ok(self.signed(summary))
    }

    type RouteChatStream = Messages<RouteNote>;

    async fn route_chat(
        &self,
        request: Request<Streaming<RouteNote>>,
    ) -> Result<Response<Messages<RouteNote>>, Status> {
        let chat = ServedChat {
            inbound: request.into_inner(),
            notes: VecDeque::new(),
            answers: VecDeque::new(),
        };
        // Driven by the reader: a client that does not read its answers is not read from either.
        let answers = stream::try_unfold(chat, |mut chat| async move {
            Ok(chat.next().await?.map(|answer| (answer, chat)))
        });
        Ok(self.signed(answers.boxed()))
    }
}

/// One RouteChat. Notes belong to the chat that left them, so an answer does not depend on which
/// backend was picked or on who else is talking.
struct ServedChat {
    inbound: Streaming<RouteNote>,
    notes: VecDeque<RouteNote>,
    answers: VecDeque<RouteNote>,
}

impl ServedChat {
    async fn next(&mut self) -> Result<Option<RouteNote>, Status> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            let Some(note) = self.inbound.message().await? else {
                return Ok(None);
            };
            let earlier = self
                .notes
                .iter()
                .filter(|earlier| earlier.location == note.location);
            self.answers.extend(earlier.cloned());
            if self.notes.len() == MAX_NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back(note);
        }
    }
}

fn on_earth(point: Point) -> Result<(), Status> {
    let Point { latitude, longitude } = point;
    if latitude.unsigned_abs() > 900_000_000 || longitude.unsigned_abs() > 1_800_000_000 {
        let message =
            format!("no such place: latitude {latitude}, longitude {longitude} (degrees times 10,000,000)");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

/// A running backend. Dropping it stops accepting and lets open RPCs finish; [`Backend::stop`]
/// also waits for them.
#[derive(Debug)]
pub struct Backend {
    name: String,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Backend {
    /// Starts a backend of this name on a free port of 127.0.0.1. Needs a tokio runtime.
    pub async fn start(name: &str) -> io::Result<Self> {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a backend at a given address, for tests that bring one back where it was.
    pub async fn start_at(name: &str, address: SocketAddr) -> io::Result<Self> {
        let guide = RouteGuideServer::new(Guide::new(name)?);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<RouteGuideServer<Guide>>().await;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));

        let (stop, stopped) = oneshot::channel();
        let server = Server::builder()
            .add_service(guide)
            .add_service(health_service)
            .add_service(reflection().build_v1().map_err(io::Error::other)?)
            // Python's and older Go tools ask with the alpha version only.
            .add_service(reflection().build_v1alpha().map_err(io::Error::other)?)
            .serve_with_incoming_shutdown(incoming, async {
                // A dropped sender means the same as a sent message.
                stopped.await.ok();
            });
        let task = tokio::spawn(server);
        Ok(Self {
            name: name.to_owned(),
            address,
            stop: Some(stop),
            task,
        })
    }

    /// The name it tells in [`SERVED_BY`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, tells clients by GOAWAY, and returns when all connections have ended.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // The task ends by itself; how it ended no longer matters to anybody.
        (&mut self.task).await.ok();
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The set has services of the gateway, too, which this backend does not have.
        .with_service_name("routeguide.RouteGuide")
        .with_service_name("grpc.health.v1.Health")
}

#[cfg(test)]
mod tests;
