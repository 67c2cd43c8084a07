//! Credentials, addresses, and the threads that the network's work runs on.

use crate::http::Connectors;
use crate::identity::Identities;
use crate::{Config, Error, Timeouts};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_types::service_config::ServiceConfigKey;
use ondisk::{Interrupt, Interrupted};
use std::fmt;
use std::future::Future;
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

/// A connection to one region of one account; clones share it.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

/// What the clones of a connection share.
struct Shared {
    sdk: SdkConfig,
    identities: Identities,
    connectors: Connectors,
    region: String,
    timeouts: Timeouts,
    /// Where all services answer, if the caller said so.
    endpoint_url: Option<String>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// How often waiting work looks whether the user wants it to stop.
const TICK: Duration = Duration::from_millis(100);
/// The SSO and STS calls of a chain of profiles, and an instance's own service.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(60);
/// The most threads for the network: hashing and reading of disks happen on others, and no more than
/// half of the cores are taken from them.
const MAX_THREADS: usize = 2;

impl Connection {
    /// Finds region and credentials by the standard chain: environment, profiles (roles, processes,
    /// SSO), web identity, container, instance (IMDSv2). No request goes to the services themselves.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::NoRegion`], [`Error::Credentials`], [`Error::Io`].
    pub fn open(config: &Config) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((cores / 2).clamp(1, MAX_THREADS))
            .thread_name("aws")
            .enable_all()
            .build()
            .map_err(|error| Error::Setting {
                what: "the network",
                why: error.to_string(),
            })?;
        let connectors = Connectors::new(config)?;
        let loading = load(config, connectors.client());
        let (sdk, identities) = runtime.block_on(async {
            tokio::time::timeout(CREDENTIALS_TIMEOUT, loading)
                .await
                .unwrap_or_else(|_| Err(Error::Credentials("no answer in time".to_owned())))
        })?;
        let region = sdk.region().ok_or(Error::NoRegion)?.to_string();
        Ok(Self(Arc::new(Shared {
            sdk,
            identities,
            connectors,
            region,
            timeouts: config.timeouts,
            endpoint_url: config.endpoint_url.clone(),
            runtime: Some(runtime),
        })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// What the clients of the SDK are made of. They do not ask again when a request fails: each
    /// service's crate does that on its own terms, and both would be attempts squared.
    pub fn sdk(&self) -> &SdkConfig {
        &self.0.sdk
    }

    /// Whom to sign requests for that the SDK does not make; renewed in time.
    ///
    /// # Errors
    /// [`Error::Credentials`].
    pub async fn identity(&self) -> Result<Identity, Error> {
        let credentials = self.0.identities.get().await;
        credentials
            .map(Identity::from)
            .map_err(|error| no_credentials(&error))
    }

    /// How long one attempt of a request may take.
    pub fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// The HTTP connections, for requests that the SDK does not make.
    pub fn connector(&self) -> SharedHttpConnector {
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(self.0.timeouts.connect)
            .read_timeout(self.0.timeouts.read)
            .build();
        self.0.connectors.connector(&settings)
    }

    /// Where a service answers, if that is not AWS's own address: the caller's address, the one for the
    /// service alone (`AWS_ENDPOINT_URL_` and `service_id`), or the one for all, environment
    /// before profile, as the official clients look for it.
    pub fn endpoint_url(&self, service_id: &str) -> Option<String> {
        let sdk = self.sdk();
        let configured = || {
            let key = ServiceConfigKey::builder()
                .service_id(service_id)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build()
                .ok()?;
            sdk.service_config().and_then(|all| all.load_config(key))
        };
        let given = self.0.endpoint_url.clone().or_else(configured);
        given.or_else(|| sdk.endpoint_url().map(str::to_owned))
    }

    /// Waits for `work`, or leaves it where it is when the user wants to stop.
    ///
    /// # Errors
    /// What `work` says, or that the user stopped it.
    pub fn wait<T, E: From<Interrupted>>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.handle().block_on(async {
            let mut work = pin!(work);
            loop {
                interrupt.check()?;
                if let Ok(result) = tokio::time::timeout(TICK, work.as_mut()).await {
                    return result;
                }
            }
        })
    }

    /// The threads that the network's work runs on.
    pub fn handle(&self) -> &Handle {
        let runtime = self.0.runtime.as_ref();
        // `drop` takes it, and nobody has the value then.
        let runtime = runtime.expect("a connection has a runtime as long as it lives");
        runtime.handle()
    }
}

/// The clients below have the access key's id in theirs.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
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

async fn load(config: &Config, http: SharedHttpClient) -> Result<(SdkConfig, Identities), Error> {
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
    // The SDK takes a variable that is set to nothing for a region.
    if loaded
        .region()
        .is_none_or(|region| region.as_ref().is_empty())
    {
        return Err(Error::NoRegion);
    }
    let without = || Error::Credentials("no source of the standard chain has any".to_owned());
    let provider = loaded.credentials_provider().ok_or_else(without)?;
    let identities = Identities::new(provider);
    // Asked for here, so that their absence is said before anything else happens.
    identities
        .get()
        .await
        .map_err(|error| no_credentials(&error))?;
    let shared = SharedCredentialsProvider::new(identities.clone());
    let sdk = loaded.into_builder().credentials_provider(shared).build();
    Ok((sdk, identities))
}

fn no_credentials(error: &CredentialsError) -> Error {
    Error::Credentials(DisplayErrorContext(error).to_string())
}
