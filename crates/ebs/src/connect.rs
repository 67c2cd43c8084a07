//! EBS over a connection to AWS.

use crate::config::Config;
use crate::ec2::Ec2;
use crate::{Error, adapt::Adapt, retry::Traffic};
use aws::{Connection, Pace};
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
    pub(crate) ec2: Ec2,
    aws: Connection,
}

impl Ebs {
    /// EBS over a connection, within limits. No request goes to EBS or EC2.
    ///
    /// # Errors
    /// [`Error::Setting`].
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

/// The clients below have the access key's id in theirs.
impl fmt::Debug for Ebs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ebs")
            .field("region", &self.region())
            .finish_non_exhaustive()
    }
}
