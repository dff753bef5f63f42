//! Configuration of sources in AWS.

use std::time::Duration;

use super::SecretReference;

/// The AWS account and identity. Everything left out is the default chain's: environment, profile, ECS task role, EKS
/// Pod Identity, IRSA, instance role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Aws {
    /// The region.
    pub region: Option<String>,
    /// Another endpoint URL, for services that speak the same protocol.
    pub endpoint: Option<String>,
    /// ARN of a role to assume, with the default chain's credentials.
    pub role: Option<String>,
}

/// A pair in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Source {
    /// The AWS account and identity.
    pub aws: Aws,
    /// The bucket.
    pub bucket: String,
    /// The object with the PEM chain, leaf first.
    pub chain: S3Object,
    /// The object with the PEM key. An object with both may be named twice.
    pub key: S3Object,
    /// The bucket stands in the path and not in the host name.
    pub path_style: bool,
    /// Time between two reads; each wait is drawn from 90 to 110 % of it.
    pub poll: Duration,
    /// URL of an SQS queue to which S3 or EventBridge reports changes. A message causes an earlier read and
    /// nothing else.
    pub queue: Option<String>,
}

impl S3Source {
    /// Its objects, each once.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &S3Object> {
        std::iter::once(&self.chain).chain(Some(&self.key).filter(|key| **key != self.chain))
    }
}

/// An object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Object {
    /// Its key.
    pub key: String,
    /// Only ever this version of it.
    pub version: Option<String>,
}

/// A pair in one secret of AWS Secrets Manager. Always its version of stage `AWSCURRENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsManagerSource {
    /// The AWS account and identity.
    pub aws: Aws,
    /// Name or ARN.
    pub secret: String,
    /// The format of its content.
    pub format: SecretFormat,
    /// Time between two reads; each wait is drawn from 90 to 110 % of it.
    pub poll: Duration,
}

/// The format of a pair in a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFormat {
    /// A JSON object with a PEM text in each of two fields. Other fields do not matter.
    Json {
        /// The field of the PEM chain.
        chain: String,
        /// The field of the PEM key.
        key: String,
    },
    /// Chain and key in one PEM text.
    Pem,
    /// PKCS#12, as binary secret or base64 text.
    Pkcs12 {
        /// Its passphrase; `None` is the empty one.
        passphrase: Option<SecretReference>,
    },
}
