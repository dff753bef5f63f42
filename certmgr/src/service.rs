//! `h2gate.certs.v1.CertificateService`: [`Control`] and [`Event`] in the words of the `.proto` file.

mod convert;

pub use convert::list;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;

use certstore::RemoteText;
use futures_util::stream::{self, Stream};
use proto::certs::v1 as pb;
use proto::certs::v1::certificate_service_server::{CertificateService, CertificateServiceServer};
use proto::certs::v1::watch_response::Item;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::metadata::{Ascii, KeyRef, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::command::CommandError;
use crate::event::Event;
use crate::supervisor::Control;

/// The longest request; each is a name and a few words.
const MAX_REQUEST: usize = 16 << 10;

/// The gRPC service over `control`, without authentication: any client that reaches it may look, and a client from a
/// loopback address may act. The server has to put tonic's connect info into each request.
pub fn service(control: Control, now: Clock) -> CertificateServiceServer<impl CertificateService> {
    CertificateServiceServer::new(Service { control, now }).max_decoding_message_size(MAX_REQUEST)
}

struct Service {
    control: Control,
    now: Clock,
}

impl Service {
    /// Checks that a client may act. The name is looked up first: a log line has a name of the configuration, and no
    /// text of a client.
    fn allowed<T>(&self, request: &Request<T>, command: &str, certificate: &str) -> Result<(), Status> {
        self.control.view(certificate).map_err(status)?;
        not_by_proxy(request.metadata(), command, certificate)?;
        not_from_page(request.metadata(), command, certificate)?;
        allowed(request.remote_addr(), command, certificate)
    }
}

#[tonic::async_trait]
impl CertificateService for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn list(&self, _: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        Ok(Response::new(list(&self.control)))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::Certificate>, Status> {
        let view = self.control.view(&request.get_ref().name).map_err(status)?;
        Ok(Response::new(convert::certificate(&view)))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().name;
        if !name.is_empty() {
            self.control.view(&name).map_err(status)?;
        }
        let watch = Watch::new(self.control.clone(), self.now.clone(), name);
        let items = stream::unfold(watch, |mut watch| async {
            let item = watch.next().await?;
            Some((Ok(pb::WatchResponse { item: Some(item) }), watch))
        });
        Ok(Response::new(Box::pin(items)))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let name = &request.get_ref().name;
        self.allowed(&request, "renew", name)?;
        self.control.renew(name).await.map_err(status)?;
        Ok(Response::new(pb::RenewResponse {}))
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        let pb::RollbackRequest { name, fingerprint } = request.get_ref();
        self.allowed(&request, "rollback", name)?;
        let to = Some(fingerprint.as_str()).filter(|fingerprint| !fingerprint.is_empty());
        let fingerprint = self.control.rollback(name, to).await.map_err(status)?;
        let fingerprint = convert::fingerprint(fingerprint);
        Ok(Response::new(pb::RollbackResponse { fingerprint }))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let name = &request.get_ref().name;
        let reason = convert::reason(request.get_ref())
            .ok_or_else(|| Status::invalid_argument("reason: this number is none of RevokeRequest.Reason"))?;
        self.allowed(&request, "revoke", name)?;
        self.control.revoke(name, reason).await.map_err(status)?;
        Ok(Response::new(pb::RevokeResponse {}))
    }

    async fn roll_account_key(
        &self,
        request: Request<pb::RollAccountKeyRequest>,
    ) -> Result<Response<pb::RollAccountKeyResponse>, Status> {
        let name = &request.get_ref().name;
        self.allowed(&request, "roll-account-key", name)?;
        self.control.roll_account_key(name).await.map_err(status)?;
        Ok(Response::new(pb::RollAccountKeyResponse {}))
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Result<Response<pb::PlanResponse>, Status> {
        let horizon = convert::horizon(request.get_ref())?;
        let plan = self.control.plan(horizon).await;
        let plan = plan.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(convert::plan(&plan)))
    }
}

/// Refuses a request by a proxy: one on this machine has a loopback address, and forwards the requests of others.
fn not_by_proxy(metadata: &MetadataMap, command: &str, certificate: &str) -> Result<(), Status> {
    let tells = metadata.keys().find_map(|key| match key {
        KeyRef::Ascii(key) => Some(key.as_str()).filter(|key| is_written_by_proxies(key)),
        KeyRef::Binary(_) => None,
    });
    let Some(field) = tells else { return Ok(()) };
    let field = RemoteText::new(field);
    tracing::warn!(
        certificate,
        command,
        %field,
        "{certificate}: a proxy asks for {command}, and may not"
    );
    Err(Status::permission_denied(format!(
        "{command} is not done for a proxy, and this request came by one: it has the field `{field}`; call the admin \
         address itself"
    )))
}

/// Refuses a request from a web page: a browser on this machine has a loopback address, too, and sends requests for any
/// page. None can speak gRPC on its own; should one learn to, the page may be anybody's.
fn not_from_page(metadata: &MetadataMap, command: &str, certificate: &str) -> Result<(), Status> {
    const FETCHED_FROM: &str = "sec-fetch-site";
    // W3C Fetch Metadata §2.3: `cross-site` and `same-site` mean a page of another origin.
    let is_strange = |site: &MetadataValue<Ascii>| !matches!(site.as_bytes(), b"same-origin" | b"none");
    let field = if metadata.contains_key("origin") {
        "origin"
    } else if metadata.get_all(FETCHED_FROM).iter().any(is_strange) {
        FETCHED_FROM
    } else {
        return Ok(());
    };
    tracing::warn!(
        certificate,
        command,
        field,
        "{certificate}: a web page asks for {command}, and may not"
    );
    Err(Status::permission_denied(format!(
        "{command} is not done for a web page, and this request came from one: it has the field `{field}`; run \
         `h2gate certs`"
    )))
}

/// True if proxies add a field of this name: about themselves, or about a client in the way that `http2` takes for such
/// a claim. Servers of CGI's kind take `_`, `.` and `-` for the same.
fn is_written_by_proxies(key: &str) -> bool {
    const WHOLE: [&str; 21] = [
        "forwarded",
        "via",
        "x-original-forwarded-for",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "x-envoy-external-address",
        "x-envoy-internal",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-appengine-user-ip",
        "x-appengine-remote-addr",
        "x-request-id",
        "client-cert",
        "client-cert-chain",
        "x-client-dn",
        "x-client-s-dn",
        "x-client-i-dn",
    ];
    const BEGINNINGS: [&str; 14] = [
        "x-forwarded",
        "x-client-cert",
        "x-clientcert",
        "x-client-verify",
        "x-cert-subject",
        "x-cert-issuer",
        "x-mtls-",
        "x-spiffe-",
        "x-ssl-",
        "x-tls-client-",
        "ssl-client-",
        "tls-client-",
        "x-amzn-mtls-clientcert",
        "x-arr-clientcert",
    ];
    let key = key.replace(['_', '.'], "-");
    WHOLE.contains(&key.as_str()) || BEGINNINGS.iter().any(|beginning| key.starts_with(beginning))
}

/// Checks that the peer may change something: only from this machine, for there is no authentication and the
/// address may be open to probes and scrapers.
fn allowed(peer: Option<SocketAddr>, command: &str, certificate: &str) -> Result<(), Status> {
    let shown = peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
    if peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        tracing::info!(
            certificate,
            command,
            peer = shown,
            "{certificate}: {shown} asks for {command}"
        );
        return Ok(());
    }
    tracing::warn!(
        certificate,
        command,
        peer = shown,
        "{certificate}: {shown} asks for {command}, and may not"
    );
    Err(Status::permission_denied(format!(
        "{command} is done only for a caller on the gateway's own loopback address, and this one comes from \
         {shown}: run `h2gate certs` there, by `kubectl exec` or `aws ecs execute-command`, or forward the port"
    )))
}

fn status(error: CommandError) -> Status {
    let message = error.to_string();
    match error {
        CommandError::Unknown { .. } | CommandError::NoSuchVersion { .. } => Status::not_found(message),
        CommandError::Ambiguous { .. } => Status::invalid_argument(message),
        CommandError::NotOrdered { .. }
        | CommandError::NothingServes { .. }
        | CommandError::ForeignCa { .. }
        | CommandError::Refused { .. }
        | CommandError::Issue { .. }
        | CommandError::State { .. } => Status::failed_precondition(message),
        CommandError::Busy { .. } | CommandError::Gone { .. } => Status::unavailable(message),
    }
}

/// One watcher: the present certificates, then events; the certificates anew after events were missed.
struct Watch {
    control: Control,
    now: Clock,
    /// The one certificate to report; empty: all.
    name: String,
    events: broadcast::Receiver<Event>,
    /// Items to be sent before the next event. Bounded by the number of certificates.
    pending: VecDeque<Item>,
}

impl Watch {
    fn new(control: Control, now: Clock, name: String) -> Self {
        // Before the snapshot, so that no event falls between the two.
        let events = control.watch();
        let mut watch = Self {
            control,
            now,
            name,
            events,
            pending: VecDeque::new(),
        };
        watch.snapshot();
        watch
    }

    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Some(item);
            }
            match self.events.recv().await {
                Ok(event) if self.wants(event.subject.name()) => {
                    return Some(Item::Event(convert::event(&event, (self.now)())));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(events)) => {
                    self.pending.push_back(Item::Missed(pb::Missed { events }));
                    self.snapshot();
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn snapshot(&mut self) {
        let views = self.control.list();
        let wanted = views.iter().filter(|view| self.wants(&view.name));
        let items: Vec<_> = wanted
            .map(|view| Item::Certificate(convert::certificate(view)))
            .collect();
        self.pending.extend(items);
        self.pending.push_back(Item::SnapshotEnd(pb::SnapshotEnd {}));
    }

    fn wants(&self, name: &str) -> bool {
        self.name.is_empty() || self.name == name
    }
}

#[cfg(test)]
mod tests;
