//! AWS: as whom we come, how long we wait, and what its answers mean.

use aws_config::SdkConfig;

use crate::config::Aws;
use crate::error::RemoteFault;

/// What stands between us and an answer, in terms of whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// Whose fault.
    pub(crate) fault: RemoteFault,
    /// What happened, in the service's own words. No remedy, no secret.
    pub(crate) text: String,
}

/// The configuration that every client of AWS is made from; one for each [`Aws`], made once in a process.
///
/// Fails without a region: nothing can be asked then.
pub(crate) async fn config(aws: &Aws) -> Result<SdkConfig, Failure> {
    let _ = aws;
    Err(Failure {
        fault: RemoteFault::Configuration,
        text: "AWS is not spoken to yet".to_owned(),
    })
}
