//! Secrets of AWS Secrets Manager: a client for it, and the bytes of one secret.
//!
//! Requests name the stage: services that speak the same protocol differ in what a missing stage means.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_secretsmanager::Client;
use zeroize::Zeroizing;

use super::{Failure, failure};
use crate::error::RemoteFault;

/// The service's own limit; services that only speak its protocol may not keep it.
const MAX_SECRET_BYTES: usize = 65_536;

const CURRENT: &str = "AWSCURRENT";

/// A client that tries once: the task of a source tries again in its own time.
pub(crate) fn client(config: &SdkConfig) -> Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// The current bytes of a secret, text or binary.
pub(crate) async fn fetch(client: &Client, secret: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let answer = client
        .get_secret_value()
        .secret_id(secret)
        .version_stage(CURRENT)
        .send()
        .await
        .map_err(|error| failure("Secrets Manager", &error))?;
    let text = answer.secret_string.map(String::into_bytes);
    let bytes = text.or_else(|| answer.secret_binary.map(|binary| binary.into_inner()));
    let bytes = Zeroizing::new(bytes.unwrap_or_default());
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(Failure {
            fault: RemoteFault::TooLarge,
            text: format!(
                "it has {} bytes; at most {MAX_SECRET_BYTES} are read",
                bytes.len()
            ),
        });
    }
    Ok(bytes)
}
