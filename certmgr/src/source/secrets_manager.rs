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
use crate::aws::secrets_manager::{client, fetch};
use crate::aws::{self, Failure};
use crate::blocking;
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
    /// Held while a container is opened: that may last longer than the reading, and no second one is begun beside it.
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
            Err(Failure {
                fault: RemoteFault::Unreachable,
                text: format!("no whole answer came within {} s", READ_TIMEOUT.as_secs()),
            })
        })
        .map_err(|failure| failure.at(self.places_of(Part::Both)))
    }

    pub(crate) fn poll(&self) -> Duration {
        jittered(self.source.poll, rand::random())
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

    async fn fetch_and_open(&mut self) -> Result<Pair, Failure> {
        let client = client(&aws::config(&self.source.aws).await?);
        self.rate_limit.spend(Instant::now());
        let secret = fetch(&client, &self.source.secret)
            .await
            .inspect_err(|_| aws::refused(&self.source.aws))?;
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
) -> Result<Pair, Failure> {
    match format {
        SecretFormat::Json { chain, key } => {
            let read = json::fields(&secret, [chain, key]).map_err(malformed)?;
            let [chain, key] = read.wanted.map(with_line_breaks);
            let others = read.others.into_iter().map(with_line_breaks);
            Ok(Pair {
                chain: joined(chain, &key, others),
                key,
            })
        }
        SecretFormat::Pem => {
            let both = with_line_breaks(secret);
            Ok(Pair {
                chain: both.clone(),
                key: both,
            })
        }
        SecretFormat::Pkcs12 { passphrase } => {
            let passphrase = match passphrase {
                Some(reference) => secret::read(reference).await.map_err(|error| Failure {
                    fault: error.fault,
                    text: format!("the passphrase cannot be had: {error}"),
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

fn malformed(text: String) -> Failure {
    Failure {
        fault: RemoteFault::Malformed,
        text,
    }
}

/// The chain, continued with certificates of other fields as far as they fit: many keep the issuers apart from the
/// leaf, each under a name of its own.
fn joined(
    chain: Zeroizing<Vec<u8>>,
    key: &[u8],
    others: impl Iterator<Item = Zeroizing<Vec<u8>>>,
) -> Zeroizing<Vec<u8>> {
    let length = |chain: &[u8]| CertBundle::parse(chain, key).map_or(0, |bundle| bundle.chain_len());
    others.fold(chain, |chain, other| {
        let longer = Zeroizing::new([chain.as_slice(), b"\n", &other].concat());
        match length(&longer) > length(&chain) {
            true => longer,
            false => chain,
        }
    })
}

/// PEM that went through a form or a shell often has its line breaks as `\n` in letters. Text without any true
/// line break gets them back.
fn with_line_breaks(text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if text.contains(&b'\n') || !text.windows(2).any(|pair| pair == b"\\n") {
        return text;
    }
    let mut broken = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_slice();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'n', after @ ..]) => {
                broken.push(b'\n');
                after
            }
            (b'\\', [b'r', after @ ..]) => after,
            (_, after) => {
                broken.push(byte);
                after
            }
        };
    }
    broken
}

#[cfg(test)]
mod tests;
