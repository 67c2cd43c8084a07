//! What happens while a target is made or removed, as it happens.

use std::fmt;

/// What happens while a target is made or removed, as it happens.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An image was registered, or an earlier run did.
    Image {
        /// The image.
        id: String,
        /// Whether an earlier run did.
        earlier: bool,
    },
    /// An instance was made, or an earlier run did.
    Instance {
        /// The instance.
        id: String,
        /// Whether an earlier run did.
        earlier: bool,
    },
    /// Something has another state than before.
    State {
        /// What.
        id: String,
        /// Its state, as EC2 calls it.
        state: String,
    },
    /// An Elastic IP address was given to the target.
    Address {
        /// The address's allocation.
        allocation: String,
        /// The interface.
        interface: String,
    },
    /// The launch is complete.
    Complete {
        /// The instance.
        id: String,
    },
    /// The protection of an instance against termination was lifted.
    Unprotected {
        /// The instance.
        id: String,
    },
    /// Something is being removed.
    Removing {
        /// What.
        id: String,
    },
    /// Something was removed, or was gone already.
    Removed {
        /// What.
        id: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = |earlier: &bool| if *earlier { " of an earlier run" } else { "" };
        match self {
            Self::Image { id, earlier } => write!(f, "image {id}{}", before(earlier)),
            Self::Instance { id, earlier } => write!(f, "instance {id}{}", before(earlier)),
            Self::State { id, state } => write!(f, "{id} is {state}"),
            Self::Address {
                allocation,
                interface,
            } => write!(f, "{interface} has the address of {allocation}"),
            Self::Complete { id } => write!(f, "the launch of {id} is complete"),
            Self::Unprotected { id } => write!(f, "{id} may be terminated now"),
            Self::Removing { id } => write!(f, "removing {id}"),
            Self::Removed { id } => write!(f, "{id} is gone"),
        }
    }
}
