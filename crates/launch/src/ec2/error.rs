//! Why something could not be done with EC2.

use super::Action;
use ondisk::Interrupted;
use std::time::Duration;
use thiserror::Error;

/// Why something could not be done with EC2. None of it holds credentials.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// What is asked for contradicts itself, the guest, or the rules of EC2; nothing was asked.
    #[error("{field}: {why}")]
    Request {
        /// The blueprint's field, or what else it is about.
        field: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The service does not know the credentials, or their time is over.
    #[error("there are no usable AWS credentials: {0}")]
    Credentials(String),
    /// IAM, or a key's policy, does not allow it.
    #[error("AWS denies {denied}: {message}")]
    Denied {
        /// What was asked.
        action: Action,
        /// What has to be allowed, by its name in IAM: the action, or one that it implies.
        denied: String,
        /// What the service said.
        message: String,
    },
    /// Something that the request names is not there, or cannot be seen with these credentials.
    #[error("{action} found something missing ({code}): {message}")]
    NoSuch {
        /// What was asked.
        action: Action,
        /// The service's code, which says of what kind it is.
        code: String,
        /// What the service said.
        message: String,
    },
    /// Something that the request names belongs to something else now.
    #[error("{action} found something in use ({code}): {message}")]
    InUse {
        /// What was asked.
        action: Action,
        /// The service's code.
        code: String,
        /// What the service said, or what was found.
        message: String,
    },
    /// AWS has no machine of that type there at the moment.
    #[error(
        "AWS has no capacity ({code}): {message}; try again later, or choose another instance type, or \
         a subnet in another availability zone, or reserve capacity"
    )]
    Capacity {
        /// The service's code.
        code: String,
        /// What the service said.
        message: String,
    },
    /// A quota of the account is used up.
    #[error("a quota of the account is used up ({code}): {message}; Service Quotas can raise it")]
    Quota {
        /// The service's code.
        code: String,
        /// What the service said.
        message: String,
    },
    /// The service refused for good.
    #[error("{action} was refused ({code}): {message}")]
    Refused {
        /// What was asked.
        action: Action,
        /// The service's code.
        code: String,
        /// What the service said.
        message: String,
    },
    /// Nothing that promised to pass did pass in time.
    #[error("{action} still failed after {attempts} attempts in {} s: {last}", waited.as_secs())]
    GaveUp {
        /// What was asked.
        action: Action,
        /// How often.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// Why the last attempt failed.
        last: String,
    },
    /// The service answers what its interface does not allow.
    #[error("the answer to {action} is not usable: {what}")]
    Answer {
        /// What was asked.
        action: Action,
        /// What is wrong with the answer.
        what: String,
    },
    /// The launch of that number was begun with another request.
    #[error(
        "launch {launch} of {machine} was begun with other disks, another blueprint, or an image that \
         is gone ({found}); remove what it left, and launch anew under the next number"
    )]
    AnotherRequest {
        /// The machine.
        machine: String,
        /// The launch's number.
        launch: u32,
        /// What was found of it.
        found: String,
    },
    /// The launch of that number made an instance that is gone.
    #[error(
        "launch {launch} of {machine} made {instance}, which is {state}{}{reason}; launch anew under \
         the next number", if reason.is_empty() { "" } else { ": " }
    )]
    Terminated {
        /// The machine.
        machine: String,
        /// The launch's number.
        launch: u32,
        /// The instance.
        instance: String,
        /// `shutting-down` or `terminated`.
        state: String,
        /// Why, as the service says, if it says it.
        reason: String,
    },
    /// The image that was registered cannot be used.
    #[error("image {image} is {state}: {reason}")]
    Image {
        /// The image.
        image: String,
        /// Its state.
        state: String,
        /// Why, as the service says.
        reason: String,
    },
    /// The instance was made and did not come up. [`Error::console`] says what it wrote.
    #[error("{instance} did not come up: {why}")]
    DidNotComeUp {
        /// The instance.
        instance: String,
        /// The service's reason, or the check that failed.
        why: String,
        /// The end of its console, without escape sequences; empty if there is none.
        console: String,
    },
    /// Something is not in the state that was waited for.
    #[error("{id} is still {state}, not {wanted}, after {} s", waited.as_secs())]
    NotInTime {
        /// What was waited for.
        id: String,
        /// Its state.
        state: String,
        /// The state that was waited for.
        wanted: &'static str,
        /// For how long.
        waited: Duration,
        /// The end of an instance's console, without escape sequences; empty if there is none.
        console: String,
    },
    /// The instance is protected against termination.
    #[error(
        "{instance} is protected against termination; lift that with `aws ec2 \
         modify-instance-attribute --instance-id {instance} --no-disable-api-termination`, or let \
         rehost lift it"
    )]
    Protected {
        /// The instance.
        instance: String,
    },
    /// What was to be removed does not bear our tags of that project and machine.
    #[error("{id} is not ours and was not touched: {why}")]
    NotOurs {
        /// What it is.
        id: String,
        /// Which tag it lacks.
        why: String,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Error {
    /// Whether it may be gone later, with nothing changed here.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::GaveUp { .. } | Self::NotInTime { .. } | Self::Capacity { .. }
        )
    }

    /// What the instance wrote to its console last, in lines; `None` if that is not known.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::DidNotComeUp { console, .. } | Self::NotInTime { console, .. } => {
                Some(console.as_str()).filter(|text| !text.is_empty())
            }
            _ => None,
        }
    }
}
