//! The bytes of a secret of AWS Secrets Manager.
//!
//! Requests name the stage: services that speak the same protocol differ in what a missing stage means.

use aws_sdk_secretsmanager::Client;
use zeroize::Zeroizing;

use super::{RemoteError, config_without_retries, refused, remote_error};
use crate::config::Aws;
use crate::error::RemoteFault;

/// The service's own limit; services that only speak its protocol may not keep it.
const MAX_SECRET_BYTES: usize = 65_536;

const CURRENT: &str = "AWSCURRENT";

/// The current bytes of a secret, text or binary.
pub(crate) async fn fetch(aws: &Aws, secret: &str) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
    let client = Client::new(&config_without_retries(aws).await?);
    let request = client.get_secret_value().secret_id(secret).version_stage(CURRENT);
    let answer = request.send().await.map_err(|error| {
        refused(aws);
        remote_error("Secrets Manager", &error)
    })?;
    let text = answer.secret_string.map(String::into_bytes);
    let bytes = text.or_else(|| answer.secret_binary.map(|binary| binary.into_inner()));
    let bytes = Zeroizing::new(bytes.unwrap_or_default());
    if bytes.len() > MAX_SECRET_BYTES {
        let text = format!(
            "it has {} bytes; at most {MAX_SECRET_BYTES} are read",
            bytes.len()
        );
        return Err(RemoteError::new(RemoteFault::TooLarge, text));
    }
    Ok(bytes)
}
