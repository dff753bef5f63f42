//! The calls, each with a deadline, and with failures in words.

use std::future::Future;
use std::time::Duration;

use proto::certs::v1 as pb;
use proto::certs::v1::certificate_service_client::CertificateServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use super::admin::AdminServer;
use super::failure::Failure;

/// For connecting, and for each call that the program answers by itself.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// For a call that the program answers once orders under way have ended and a CA has done several things.
const CA_DEADLINE: Duration = Duration::from_secs(120);

/// The longest answer: ten thousand certificates with all there is to say of each.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to the running program.
#[derive(Debug)]
pub(super) struct Client {
    admin: String,
    service: CertificateServiceClient<Channel>,
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
        let service = CertificateServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self { admin: name, service })
    }

    /// All certificates, by name, and what is to be revoked of others.
    pub(super) async fn list(&mut self) -> Result<pb::ListResponse, Failure> {
        let call = self.service.list(pb::ListRequest {});
        answer(&self.admin, DEADLINE, call).await
    }

    pub(super) async fn show(&mut self, name: &str) -> Result<pb::Certificate, Failure> {
        let call = self.service.get(pb::GetRequest {
            name: name.to_owned(),
        });
        answer(&self.admin, DEADLINE, call).await
    }

    pub(super) async fn renew(&mut self, name: &str) -> Result<(), Failure> {
        let call = self.service.renew(pb::RenewRequest {
            name: name.to_owned(),
        });
        answer(&self.admin, DEADLINE, call).await.map(drop)
    }

    /// The version that serves then.
    pub(super) async fn roll_back(&mut self, name: &str, to: Option<&str>) -> Result<String, Failure> {
        let request = pb::RollbackRequest {
            name: name.to_owned(),
            fingerprint: to.unwrap_or_default().to_owned(),
        };
        let call = self.service.rollback(request);
        Ok(answer(&self.admin, DEADLINE, call).await?.fingerprint)
    }

    pub(super) async fn revoke(&mut self, request: pb::RevokeRequest) -> Result<(), Failure> {
        let call = self.service.revoke(request);
        answer(&self.admin, DEADLINE, call).await.map(drop)
    }

    pub(super) async fn roll_account_key(&mut self, name: &str) -> Result<(), Failure> {
        let call = self.service.roll_account_key(pb::RollAccountKeyRequest {
            name: name.to_owned(),
        });
        answer(&self.admin, CA_DEADLINE, call).await.map(drop)
    }

    pub(super) async fn plan(&mut self, horizon: Duration) -> Result<pb::PlanResponse, Failure> {
        let horizon = prost_types::Duration::try_from(horizon).ok();
        let call = self.service.plan(pb::PlanRequest { horizon });
        answer(&self.admin, DEADLINE, call).await
    }

    /// One certificate as it is now, and then what happens to it.
    pub(super) async fn watch(&mut self, name: &str) -> Result<Watch, Failure> {
        let call = self.service.watch(pb::WatchRequest {
            name: name.to_owned(),
        });
        Ok(Watch {
            admin: self.admin.clone(),
            items: answer(&self.admin, DEADLINE, call).await?,
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

async fn answer<T>(
    admin: &str,
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::calling(admin, &status, deadline)),
        Err(_) => Err(Failure::Silent {
            admin: admin.to_owned(),
            after: deadline,
        }),
    }
}
