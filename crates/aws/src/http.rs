//! The HTTP connections: rustls with ring, the host's certificates and the user's, proxies.

use crate::Error;
use crate::config::Config;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_types::error::display::DisplayErrorContext;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Makes connectors, one for each pair of time-outs: all requests with the same ones share its
/// connections. The instance's own service has shorter ones than others.
#[derive(Clone, Debug)]
pub(crate) struct Connectors {
    tls: TlsContext,
    made: Arc<Mutex<HashMap<Timeouts, SharedHttpConnector>>>,
}

/// Connect and read.
type Timeouts = (Option<Duration>, Option<Duration>);

/// The bundle of all public authorities is a quarter of that.
const MAX_CA_BUNDLE: u64 = 1 << 20;

impl Connectors {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut trust = TrustStore::default();
        let bundle = config.ca_bundle.clone();
        let bundle = bundle.or_else(|| std::env::var_os("AWS_CA_BUNDLE").map(PathBuf::from));
        if let Some(path) = bundle.filter(|path| !path.as_os_str().is_empty()) {
            trust.add_pem_certificate(read_bundle(&path)?);
        }
        let tls = TlsContext::builder().with_trust_store(trust).build();
        let tls = tls.map_err(|error| Error::Setting {
            what: "the CA bundle",
            why: DisplayErrorContext(&error).to_string(),
        })?;
        Ok(Self {
            tls,
            made: Arc::default(),
        })
    }

    /// The connector with these time-outs.
    pub(crate) fn connector(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = made.entry(key).or_insert_with(|| {
            let connector = Connector::builder()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(self.tls.clone())
                .proxy_config(ProxyConfig::from_env())
                .connector_settings(settings.clone())
                .build();
            SharedHttpConnector::new(connector)
        });
        connector.clone()
    }

    /// The same for the SDK.
    pub(crate) fn client(&self) -> SharedHttpClient {
        let connectors = self.clone();
        http_client_fn(move |settings, _| connectors.connector(settings))
    }
}

fn read_bundle(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let setting = |why: &str| Error::Setting {
        what: "the CA bundle",
        why: format!("{} {why}", path.display()),
    };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_CA_BUNDLE {
        return Err(setting("is larger than 1 MiB"));
    }
    let pem = std::fs::read(path).map_err(io)?;
    // The TLS library ignores what it cannot read, and would then trust nothing of the user's.
    let marker = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(marker.len()).any(|window| window == marker) {
        Ok(pem)
    } else {
        Err(setting("holds no PEM certificate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a certificate").unwrap();
        let config = Config {
            ca_bundle: Some(file.path().to_owned()),
            ..Config::default()
        };
        assert!(matches!(
            Connectors::new(&config),
            Err(Error::Setting { .. })
        ));
        let config = Config {
            ca_bundle: Some("/nonexistent".into()),
            ..Config::default()
        };
        assert!(matches!(Connectors::new(&config), Err(Error::Io { .. })));
    }
}
