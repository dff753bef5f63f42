//! A chain and a key in one secret of AWS Secrets Manager, always its version of stage `AWSCURRENT`.

pub(crate) mod json;
pub(crate) mod pkcs12;

use std::sync::Arc;
use std::time::Duration;

use certstore::{CertBundle, Part};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::rate_limit::{RateLimit, jittered};
use crate::aws::RemoteError;
use crate::aws::secrets_manager::fetch;
use crate::blocking;
use crate::clock::Random;
use crate::config::{SecretFormat, SecretsManagerSource};
use crate::error::{Error, RemoteFault};
use crate::pair::{Content, Pair};
use crate::secret;

/// Limit for a whole reading, a passphrase from elsewhere included.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a pair from a secret.
#[derive(Debug)]
pub(crate) struct SecretReader {
    source: SecretsManagerSource,
    rate_limit: RateLimit,
    /// Content of the last good secret, and the pair in it: a PKCS#12 container is costly to open.
    opened: Option<(Content, Pair)>,
    /// Locked while a container is opened: that may last longer than the reading, and no second one is begun beside it.
    opening: Arc<Mutex<()>>,
}

impl SecretReader {
    pub(crate) fn new(source: SecretsManagerSource) -> Self {
        Self {
            source,
            rate_limit: RateLimit::new(Instant::now()),
            opened: None,
            opening: Arc::default(),
        }
    }

    pub(crate) async fn read(&mut self) -> Result<Pair, Error> {
        sleep_until(self.rate_limit.free_at()).await;
        let read = timeout(READ_TIMEOUT, self.fetch_and_open()).await;
        read.unwrap_or_else(|_| {
            let text = format!("no whole answer came within {} s", READ_TIMEOUT.as_secs());
            Err(RemoteError::new(RemoteFault::Unreachable, text))
        })
        .map_err(|error| error.at(self.places_of(Part::Both)))
    }

    pub(crate) fn poll(&self, random: &Random) -> Duration {
        jittered(self.source.poll, random())
    }

    pub(crate) fn places_of(&self, part: Part) -> Vec<String> {
        let secret = &self.source.secret;
        vec![match (&self.source.format, part) {
            (SecretFormat::Json { chain, .. }, Part::Chain) => format!("secret {secret}, field {chain}"),
            (SecretFormat::Json { key, .. }, Part::Key) => format!("secret {secret}, field {key}"),
            (SecretFormat::Json { .. } | SecretFormat::Pem | SecretFormat::Pkcs12 { .. }, _) => {
                format!("secret {secret}")
            }
        }]
    }

    async fn fetch_and_open(&mut self) -> Result<Pair, RemoteError> {
        self.rate_limit.spend(Instant::now());
        let secret = fetch(&self.source.aws, &self.source.secret).await?;
        let content = Content::of(&[&secret]);
        if let Some((of, pair)) = &self.opened
            && *of == content
        {
            return Ok(pair.clone());
        }
        let pair = open(secret, &self.source.format, &self.opening).await?;
        self.opened = Some((content, pair.clone()));
        Ok(pair)
    }
}

async fn open(
    secret: Zeroizing<Vec<u8>>,
    format: &SecretFormat,
    opening: &Arc<Mutex<()>>,
) -> Result<Pair, RemoteError> {
    let malformed = |text| RemoteError::new(RemoteFault::Malformed, text);
    match format {
        SecretFormat::Json { chain, key } => {
            let read = json::fields(&secret, [chain, key]).map_err(malformed)?;
            let [chain, key] = read.wanted;
            let chain = joined(chain, &key, read.others);
            Ok(Pair { chain, key })
        }
        SecretFormat::Pem => Ok(Pair {
            chain: secret.clone(),
            key: secret,
        }),
        SecretFormat::Pkcs12 { passphrase } => {
            let passphrase = match passphrase {
                Some(reference) => secret::read(reference).await.map_err(|error| {
                    RemoteError::new(error.fault, format!("the passphrase cannot be had: {error}"))
                })?,
                None => Zeroizing::default(),
            };
            let alone = Arc::clone(opening).lock_owned().await;
            // A derivation of a million rounds takes a second of a core, and there may be many.
            blocking::open(move || {
                let _alone = alone;
                pkcs12::open(&secret, &passphrase)
            })
            .await
            .unwrap_or_else(|ended| Err(format!("opening it ended early: {ended}")))
            .map_err(malformed)
        }
    }
}

/// The chain, continued with certificates of other fields as far as they fit: many keep the issuers apart from the
/// leaf, each under a name of its own.
fn joined(chain: Zeroizing<Vec<u8>>, key: &[u8], others: Vec<Zeroizing<Vec<u8>>>) -> Zeroizing<Vec<u8>> {
    let length = |chain: &[u8]| CertBundle::parse(chain, key).map_or(0, |bundle| bundle.chain_len());
    others.into_iter().fold(chain, |chain, other| {
        let longer = Zeroizing::new([chain.as_slice(), b"\n", &other].concat());
        match length(&longer) > length(&chain) {
            true => longer,
            false => chain,
        }
    })
}

#[cfg(test)]
mod tests;
