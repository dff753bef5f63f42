//! The calls, each with a deadline, and with failures in words.

use std::time::Duration;

use proto::certs::v1 as pb;
use proto::certs::v1::certificate_service_client::CertificateServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use super::admin::AdminServer;
use super::failure::Failure;

/// For connecting, and for each call that the program answers by itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// For a call that the program answers once orders under way have ended and a CA has done several things.
pub(super) const CA_DEADLINE: Duration = Duration::from_secs(120);

/// The longest answer: ten thousand certificates with all there is to say of each.
const MAX_ANSWER: usize = 64 << 20;

pub(super) type Service = CertificateServiceClient<Channel>;

/// A connection to the running program.
#[derive(Debug)]
pub(super) struct Client {
    admin: String,
    service: Service,
}

impl Client {
    pub(super) async fn connect(admin: &AdminServer) -> Result<Self, Failure> {
        let name = admin.to_string();
        let endpoint = Endpoint::from_shared(format!("http://{}", admin.address))
            .map_err(|error| Failure::connecting(&name, &error))?;
        let silent = || Failure::Silent {
            admin: name.clone(),
            after: DEADLINE,
        };
        let channel = timeout(DEADLINE, endpoint.connect())
            .await
            .map_err(|_| silent())?
            .map_err(|error| Failure::connecting(&name, &error))?;
        let service = Service::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self { admin: name, service })
    }

    /// Makes a call that the program answers by itself.
    pub(super) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Service) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        self.call_within(DEADLINE, call).await
    }

    pub(super) async fn call_within<T>(
        &mut self,
        deadline: Duration,
        call: impl AsyncFnOnce(&mut Service) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        match timeout(deadline, call(&mut self.service)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Failure::calling(&self.admin, &status, deadline)),
            Err(_) => Err(Failure::Silent {
                admin: self.admin.clone(),
                after: deadline,
            }),
        }
    }

    pub(super) async fn show(&mut self, name: &str) -> Result<pb::Certificate, Failure> {
        let name = name.to_owned();
        self.call(async |service| service.get(pb::GetRequest { name }).await)
            .await
    }

    pub(super) async fn renew(&mut self, name: &str) -> Result<pb::RenewResponse, Failure> {
        let name = name.to_owned();
        self.call(async |service| service.renew(pb::RenewRequest { name }).await)
            .await
    }

    /// One certificate as it is now, and then what happens to it.
    pub(super) async fn watch(&mut self, name: &str) -> Result<Watch, Failure> {
        let name = name.to_owned();
        let items = self.call(async |service| service.watch(pb::WatchRequest { name }).await);
        Ok(Watch {
            items: items.await?,
            admin: self.admin.clone(),
        })
    }
}

/// The events of one certificate, as they come.
#[derive(Debug)]
pub(super) struct Watch {
    admin: String,
    items: Streaming<pb::WatchResponse>,
}

impl Watch {
    /// Waits for the next item without an end; cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<pb::watch_response::Item, Failure> {
        loop {
            match self.items.message().await {
                Ok(Some(pb::WatchResponse { item: Some(item) })) => return Ok(item),
                // A kind of item that this version does not know.
                Ok(Some(pb::WatchResponse { item: None })) => {}
                Ok(None) => {
                    return Err(Failure::Broken {
                        admin: self.admin.clone(),
                        text: "no more events come".to_owned(),
                    });
                }
                Err(status) => return Err(Failure::calling(&self.admin, &status, DEADLINE)),
            }
        }
    }
}
