//! The limit for the length of an answer of AWS.

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Longest body of an answer, with its trailers. The longest useful one is a secret of 64 KiB, each byte of which may
/// take six in JSON; S3 and EventBridge report a change in a few KiB, ten of which come at once. hyper has limits of
/// its own for heads: 408 KiB over HTTP/1.1, 16 KiB over HTTP/2.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Mark of a request: the caller reads the body of a successful answer part by part, and limits it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadByParts;

/// Error of an answer that is longer.
#[derive(Debug, thiserror::Error)]
#[error("the answer has more than {MAX_ANSWER_BYTES} bytes; something else than AWS may answer there")]
pub(super) struct TooLong;

/// A client with a limit for its answers.
pub(super) fn bounded(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Bounded(client))
}

/// The client in it, with a limit for the length of answers.
#[derive(Debug)]
struct Bounded<T>(T);

impl HttpClient for Bounded<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Bounded(self.0.http_connector(settings, components)))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

impl HttpConnector for Bounded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_read_by_parts = request.extension::<ReadByParts>().is_some();
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            Ok(match is_read_by_parts && answer.status().is_success() {
                true => answer,
                false => limited(answer),
            })
        })
    }
}

fn limited(answer: HttpResponse) -> HttpResponse {
    answer.map(|body| {
        let body = Limited::new(body, MAX_ANSWER_BYTES);
        SdkBody::from_body_1_x(body.map_err(|error| match error.is::<LengthLimitError>() {
            true => TooLong.into(),
            false => error,
        }))
    })
}
