//! Secrets that the configuration refers to: an external account's key, a passphrase.

use zeroize::Zeroizing;

use crate::config::SecretReference;
use crate::error::RemoteFault;

/// A secret could not be had. The text names the place, never the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub(crate) struct SecretError {
    /// The file, the variable or the secret's name.
    pub(crate) place: String,
    /// Whose fault.
    pub(crate) fault: RemoteFault,
    /// What happened. No remedy.
    pub(crate) text: String,
}

/// Reads a secret: text, without one line break at its end. Bounded in time and size. Never cached, for it may be
/// rotated.
pub(crate) async fn read(reference: &SecretReference) -> Result<Zeroizing<String>, SecretError> {
    Err(SecretError {
        place: format!("{reference:?}"),
        fault: RemoteFault::Configuration,
        text: "cannot be read yet".to_owned(),
    })
}
