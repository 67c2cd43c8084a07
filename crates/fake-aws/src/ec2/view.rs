//! What tests see of EC2.

use super::addresses::Address;
use super::cloud::Cloud;
use super::images::Image;
use super::instances::Instance;
use super::interfaces::Interface;
use super::volumes::Volume;
use serde::Serialize;

/// All that EC2 has besides snapshots, each sort by id.
#[derive(Debug, Clone, Serialize)]
pub struct Resources {
    /// Images that are registered.
    pub images: Vec<Image>,
    /// Instances, also those that are terminated, for as long as they can be seen.
    pub instances: Vec<Instance>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Elastic IP addresses.
    pub addresses: Vec<Address>,
}

impl Cloud {
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            images: self.images.values().cloned().collect(),
            instances: self.instances.values().cloned().collect(),
            volumes: self.volumes.values().cloned().collect(),
            interfaces: self.interfaces.values().cloned().collect(),
            addresses: self.addresses.values().cloned().collect(),
        }
    }
}
