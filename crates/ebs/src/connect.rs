//! EBS over a connection to AWS.

use crate::config::Config;
use crate::ec2::Ec2;
use crate::signed::Signed;
use crate::{Error, adapt::Adapt, retry::Traffic};
use aws::{Connection, Pace};
use aws_sdk_ebs::config::endpoint::{DefaultResolver, Params, ParamsBuilder, ResolveEndpoint};
use ondisk::Interrupt;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A connection to EBS in one region; clones share it, and its limits.
#[derive(Clone)]
pub struct Ebs(pub(crate) Arc<Shared>);

/// What the clones of a connection share.
pub(crate) struct Shared {
    pub(crate) traffic: Traffic,
    pub(crate) sdk: aws_sdk_ebs::Client,
    /// For the action that is asked for most, past the client above.
    pub(crate) direct: Signed,
    pub(crate) ec2: Ec2,
    aws: Connection,
}

impl Ebs {
    /// EBS over a connection, within limits. No request goes to EBS or EC2. As all that waits, this
    /// is not for tasks of an asynchronous runtime.
    ///
    /// # Errors
    /// [`Error::Setting`], also if the endpoint and the kind of endpoint (FIPS, dual stack) that were
    /// asked for exclude each other.
    pub fn new(aws: Connection, config: &Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self(Arc::new(Shared {
            traffic: Traffic {
                pace: Pace::new(config.max_requests_per_second, config.max_mbps),
                adapt: Adapt::new(
                    config.min_concurrency,
                    config.max_concurrency,
                    aws.timeouts().read,
                ),
                attempt: aws.timeouts().attempt,
                timeouts: config.timeouts,
            },
            sdk: aws_sdk_ebs::Client::new(aws.sdk()),
            direct: Signed::new(&aws, "ebs", &url(&aws)?),
            ec2: Ec2::new(&aws),
            aws,
        })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.0.aws.region()
    }

    /// Waits for `work`, or leaves it where it is when the user wants to stop.
    pub(crate) fn wait<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.0.aws.wait(interrupt, work)
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.aws.handle()
    }
}

/// Where the SDK's client of EBS would send its requests.
fn url(aws: &Connection) -> Result<String, Error> {
    let sdk = aws.sdk();
    let params = Params::builder()
        .region(aws.region())
        .set_use_fips(sdk.use_fips())
        .set_use_dual_stack(sdk.use_dual_stack())
        .set_endpoint(aws.endpoint_url("EBS"));
    resolve(params, aws.handle())
}

fn resolve(params: ParamsBuilder, handle: &Handle) -> Result<String, Error> {
    let unknown = |error: &dyn fmt::Display| Error::Setting {
        what: "the address of EBS",
        why: error.to_string(),
    };
    let params = params.build().map_err(|error| unknown(&error))?;
    let resolver = DefaultResolver::new();
    let endpoint = handle.block_on(resolver.resolve_endpoint(&params));
    let endpoint = endpoint.map_err(|error| unknown(&error))?;
    Ok(endpoint.url().to_owned())
}

/// The clients below have the access key's id in theirs.
impl fmt::Debug for Ebs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ebs")
            .field("region", &self.region())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_where_the_service_is() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let of = |params: ParamsBuilder| resolve(params, runtime.handle());
        let in_region = |region: &str| Params::builder().region(region);
        for (params, expected) in [
            (
                in_region("eu-west-1"),
                "https://ebs.eu-west-1.amazonaws.com",
            ),
            (
                in_region("cn-north-1"),
                "https://ebs.cn-north-1.amazonaws.com.cn",
            ),
            (
                in_region("us-east-1").use_fips(true),
                "https://ebs-fips.us-east-1.amazonaws.com",
            ),
            (
                in_region("us-east-1").use_dual_stack(true),
                "https://ebs.us-east-1.api.aws",
            ),
            (
                in_region("us-east-1").endpoint("https://vpce.example/a"),
                "https://vpce.example/a",
            ),
        ] {
            assert_eq!(of(params).unwrap(), expected);
        }
        let both = in_region("us-east-1").endpoint("https://vpce.example");
        let refused = of(both.use_fips(true)).unwrap_err();
        assert!(matches!(refused, Error::Setting { .. }), "{refused}");
    }
}
