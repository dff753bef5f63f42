//! AWS: identity of our calls, timeouts, and the meaning of errors.

mod answers;
mod error;
pub(crate) mod secrets_manager;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::runtime;
use tokio::time::{Instant, timeout};

pub(crate) use answers::ReadByParts;
pub(crate) use error::{RemoteError, presentable, remote_error};

use crate::config::Aws;
use crate::error::RemoteFault;

/// Limit for a connection to stand, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit for one attempt of a call, up to the head of its answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit for a call with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts of the SDK at a call. A poller has its own rate limit and lets the SDK try once.
const ATTEMPTS: u32 = 3;

/// A connection is kept for the next call of the same reading, never for the next poll: the other side closes
/// it first, and the call would find out too late.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit for instance metadata: it is one hop away or not there at all. In containers its packets are often dropped.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Limit for finding region and credentials: files, environment, instance metadata.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Name under which the sessions of an assumed role appear in CloudTrail.
const SESSION_NAME: &str = "h2gate";

/// Least time between two searches for credentials after a refused call.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Configurations by runtime and [`Aws`]: a client's connections end with the runtime that made them.
type Loaded = HashMap<(runtime::Id, Aws), (SdkConfig, Instant)>;

static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

/// The configuration that every client of AWS is made from: region, credentials, timeouts. Made once for each
/// [`Aws`], so that credentials are fetched once, and anew after [`refused`]. A client is cheap to make from it
/// and is made for each reading.
///
/// The endpoint of `aws` is that of the service that is asked, never that of STS: for STS the environment
/// counts (`AWS_ENDPOINT_URL_STS`). Fails without a region, for then nothing can be asked.
pub(crate) async fn config(aws: &Aws) -> Result<SdkConfig, RemoteError> {
    let key = (runtime::Handle::current().id(), aws.clone());
    if let Some((config, _)) = loaded().get(&key) {
        return Ok(config.clone());
    }
    let config = timeout(LOAD_TIMEOUT, load(aws)).await.unwrap_or_else(|_| {
        let seconds = LOAD_TIMEOUT.as_secs();
        let text = format!("region and credentials could not be found out within {seconds} s");
        Err(RemoteError::new(RemoteFault::Unreachable, text))
    })?;
    Ok(loaded().entry(key).or_insert((config, Instant::now())).0.clone())
}

fn loaded() -> MutexGuard<'static, Loaded> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, for clients that try a call once: a task that reads again and again tries again in its own time.
pub(crate) async fn config_without_retries(aws: &Aws) -> Result<SdkConfig, RemoteError> {
    let builder = config(aws).await?.into_builder();
    Ok(builder.retry_config(RetryConfig::disabled()).build())
}

/// Notes that AWS has refused a call: the next [`config`] looks for region and credentials anew. The SDK reads a
/// profile once and keeps keys without an end for ever, while operators rotate them.
pub(crate) fn refused(aws: &Aws) {
    let key = (runtime::Handle::current().id(), aws.clone());
    loaded().retain(|of, (_, since)| *of != key || since.elapsed() < RELOAD_INTERVAL);
}

async fn load(aws: &Aws) -> Result<SdkConfig, RemoteError> {
    let http = http_client();
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    let region = region(aws, &provider).await.ok_or_else(|| {
        RemoteError::new(
            RemoteFault::Configuration,
            "no AWS region is known: `region` is not set, nor is AWS_REGION, nor one in the profile",
        )
    })?;
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(region.clone())
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .credentials_provider(credentials(provider.with_region(Some(region))).await)
        .load()
        .await;
    let mut builder = config.clone().into_builder();
    if let Some(role) = &aws.role {
        let role = AssumeRoleProvider::builder(role).session_name(SESSION_NAME);
        let role = role.configure(&config).build().await;
        builder = builder.credentials_provider(SharedCredentialsProvider::new(role));
    }
    if let Some(endpoint) = &aws.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(builder.build())
}

fn http_client() -> SharedHttpClient {
    let client = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    answers::bounded(client)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// The region by the SDK's own chain, but with a limit for instance metadata.
async fn region(aws: &Aws, provider: &ProviderConfig) -> Option<Region> {
    RegionProviderChain::first_try(aws.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(
            ImdsRegionProvider::builder()
                .imds_client(metadata(provider))
                .build(),
        )
        .region()
        .await
}

#[cfg(not(test))]
async fn credentials(provider: ProviderConfig) -> SharedCredentialsProvider {
    use aws_config::default_provider::credentials::DefaultCredentialsChain;

    let chain = DefaultCredentialsChain::builder().imds_client(metadata(&provider));
    SharedCredentialsProvider::new(chain.configure(provider).build().await)
}

/// Credentials for tests: none changes the environment of the process. The key's number is that of the loading.
#[cfg(test)]
async fn credentials(_provider: ProviderConfig) -> SharedCredentialsProvider {
    use std::sync::atomic::{AtomicU32, Ordering};

    static LOADINGS: AtomicU32 = AtomicU32::new(0);
    let key = format!("KEY{}", LOADINGS.fetch_add(1, Ordering::Relaxed));
    let credentials = aws_credential_types::Credentials::new(key, "secret", None, None, "tests");
    SharedCredentialsProvider::new(credentials)
}

fn metadata(provider: &ProviderConfig) -> imds::Client {
    imds::Client::builder()
        .configure(provider)
        .max_attempts(1)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .operation_timeout(METADATA_TIMEOUT)
        .build()
}
