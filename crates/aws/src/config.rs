//! What a connection to AWS is made of.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a connection to AWS is made of; the default is what the environment and the profile say.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The region; else AWS_REGION, the profile's, or the instance's.
    pub region: Option<String>,
    /// The profile; else AWS_PROFILE, or `default`.
    pub profile: Option<String>,
    /// These credentials instead of what the standard chain finds.
    pub credentials: Option<Credentials>,
    /// Where all services answer; else AWS_ENDPOINT_URL_EBS and so on for each, AWS_ENDPOINT_URL, the
    /// profile's `endpoint_url`, or AWS's own addresses.
    pub endpoint_url: Option<String>,
    /// Certificates (PEM) to trust besides the host's; else AWS_CA_BUNDLE.
    pub ca_bundle: Option<PathBuf>,
    /// How long one attempt of a request may take.
    pub timeouts: Timeouts,
}

/// Credentials; shown to nobody.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token that comes with temporary ones.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How long one attempt of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From a request to the head of its answer.
    pub read: Duration,
    /// The attempt as a whole.
    pub attempt: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(12),
            attempt: Duration::from_secs(20),
        }
    }
}
