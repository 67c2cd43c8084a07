//! Connections, credentials and addresses.

use crate::config::Config;
use crate::ec2::Ec2;
use crate::http::Connectors;
use crate::{Error, adapt::Adapt, pace::Pace, retry::Traffic};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ebs::error::DisplayErrorContext;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ondisk::Interrupt;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A connection to EBS in one region; clones share it, and its limits.
#[derive(Clone)]
pub struct Ebs(pub(crate) Arc<Shared>);

/// What the clones of a connection share.
pub(crate) struct Shared {
    pub(crate) traffic: Traffic,
    pub(crate) sdk: aws_sdk_ebs::Client,
    pub(crate) ec2: Ec2,
    pub(crate) region: String,
    pub(crate) max_concurrency: u32,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// How often waiting work looks whether the user wants it to stop.
const TICK: Duration = Duration::from_millis(100);
/// The SSO and STS calls of a chain of profiles, and an instance's own service.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(60);
/// Threads for the network: hashing and reading happen on others.
const THREADS: usize = 2;

impl Ebs {
    /// Finds region and credentials by the standard chain: environment, profiles (roles, processes,
    /// SSO), web identity, container, instance (IMDSv2). No request goes to EBS or EC2.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::NoRegion`], [`Error::Credentials`].
    pub fn connect(config: &Config) -> Result<Self, Error> {
        config.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("ebs")
            .enable_all()
            .build()
            .map_err(|error| Error::Setting {
                what: "the network",
                why: error.to_string(),
            })?;
        let connectors = Connectors::new(config)?;
        let loading = load(config, connectors.client());
        let (sdk_config, credentials) = runtime.block_on(async {
            tokio::time::timeout(CREDENTIALS_TIMEOUT, loading)
                .await
                .unwrap_or_else(|_| Err(Error::Credentials("no answer in time".to_owned())))
        })?;
        let region = sdk_config.region().ok_or(Error::NoRegion)?.to_string();
        let ec2 = Ec2::new(&sdk_config, &region, credentials, &connectors, config);
        let sdk = aws_sdk_ebs::Client::new(&sdk_config);
        Ok(Self(Arc::new(Shared {
            traffic: Traffic {
                pace: Pace::new(config.max_requests_per_second, config.max_mbps),
                adapt: Adapt::new(config.min_concurrency, config.max_concurrency),
                timeouts: config.timeouts,
            },
            sdk,
            ec2,
            region,
            max_concurrency: config.max_concurrency,
            runtime: Some(runtime),
        })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Waits for `work`, or leaves it where it is when the user wants to stop.
    pub(crate) fn wait<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.runtime().block_on(async {
            let mut work = pin!(work);
            loop {
                interrupt.check()?;
                if let Ok(result) = tokio::time::timeout(TICK, work.as_mut()).await {
                    return result;
                }
            }
        })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        let runtime = self.0.runtime.as_ref();
        // `drop` takes it, and nobody has the value then.
        runtime.expect("a connection has a runtime as long as it lives")
    }
}

/// The clients below have the access key's id in theirs.
impl fmt::Debug for Ebs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ebs")
            .field("region", &self.0.region)
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last clone may be dropped by a task of the runtime, which must not wait for itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn load(
    config: &Config,
    http: SharedHttpClient,
) -> Result<
    (
        aws_config::SdkConfig,
        aws_credential_types::provider::SharedCredentialsProvider,
    ),
    Error,
> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.timeouts.connect)
        .read_timeout(config.timeouts.read)
        .operation_attempt_timeout(config.timeouts.attempt)
        .build();
    // Its letters are fixed and allowed.
    let app = AppName::new("rehost").expect("the name is a valid one");
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .app_name(app)
        .timeout_config(timeouts)
        // We ask again on our own terms; twice that would be attempts squared.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(given) = &config.credentials {
        let (key, secret) = (&given.access_key_id, &given.secret_access_key);
        let token = given.session_token.clone();
        let given = Credentials::new(key, secret, token, None, "rehost");
        loader = loader.credentials_provider(given);
    }
    if let Some(url) = &config.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let loaded = loader.load().await;
    if loaded.region().is_none() {
        return Err(Error::NoRegion);
    }
    let none = || Error::Credentials("no source of the standard chain has any".to_owned());
    let provider = loaded.credentials_provider().ok_or_else(none)?;
    // Asked for here, so that their absence is said before anything else happens.
    provider
        .provide_credentials()
        .await
        .map_err(|error| Error::Credentials(DisplayErrorContext(&error).to_string()))?;
    Ok((loaded, provider))
}
