//! What is asked of EC2 for a target, as plain values: the same target is the same request, whatever
//! version of the SDK sends it.

use super::tag::{self, Tags};
use super::{Ec2, Kind};
use aws_sdk_ec2::operation::register_image::builders::RegisterImageFluentBuilder;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, CpuOptionsRequest, CreditSpecificationRequest, EbsBlockDevice,
    IamInstanceProfileSpecification, InstanceIpv6Address, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, Placement, PrivateIpAddressSpecification, ResourceType,
    TagSpecification,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// All that is asked for a target.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) image: ImageRequest,
    pub(crate) instance: InstanceRequest,
    pub(crate) after: After,
    /// The client token of RunInstances: it stands for the launch, not for the request, so that EC2
    /// itself refuses a second instance of the same launch that is not the same.
    pub(crate) token: String,
}

/// What RegisterImage is asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ImageRequest {
    /// Unique by the digest of all the rest.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) architecture: &'static str,
    pub(crate) boot_mode: &'static str,
    pub(crate) root_device: String,
    pub(crate) ena: bool,
    pub(crate) sriov: bool,
    pub(crate) tpm: bool,
    pub(crate) uefi_data: Option<String>,
    pub(crate) imds_v2: bool,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) tags: Tags,
}

/// A volume to make.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Mapping {
    pub(crate) device: String,
    /// Where its content comes from; RunInstances takes it from the image.
    pub(crate) snapshot: Option<String>,
    pub(crate) size_gib: i32,
    pub(crate) volume_type: String,
    pub(crate) iops: Option<i32>,
    pub(crate) throughput: Option<i32>,
    pub(crate) initialization_rate: Option<i32>,
    pub(crate) delete_on_termination: bool,
    /// RunInstances alone takes it.
    pub(crate) encrypted: bool,
    /// RunInstances alone takes it.
    pub(crate) kms_key: Option<String>,
}

/// What RunInstances is asked, but for the image.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct InstanceRequest {
    pub(crate) instance_type: String,
    pub(crate) interfaces: Vec<InterfaceRequest>,
    /// The volumes that are encrypted otherwise than the image says.
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) profile: Option<Profile>,
    pub(crate) key_name: Option<String>,
    /// In base64.
    pub(crate) user_data: Option<String>,
    pub(crate) availability_zone: Option<String>,
    pub(crate) tenancy: Option<&'static str>,
    pub(crate) host_id: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) ebs_optimized: Option<bool>,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) credits: Option<&'static str>,
    pub(crate) http_tokens: Option<&'static str>,
    pub(crate) hop_limit: Option<i32>,
    pub(crate) instance_tags: Option<bool>,
    pub(crate) termination_protection: bool,
    pub(crate) instance_tag_set: Tags,
    pub(crate) volume_tags: Tags,
    pub(crate) interface_tags: Tags,
}

/// An instance profile.
#[derive(Clone, Debug, Serialize)]
pub(crate) enum Profile {
    Arn(String),
    Name(String),
}

/// Cores and threads.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) cores: Option<i32>,
    pub(crate) threads: Option<i32>,
}

/// An interface to make, or one that is there.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct InterfaceRequest {
    pub(crate) index: i32,
    /// One that is there; then nothing below is set.
    pub(crate) existing: Option<String>,
    pub(crate) subnet: Option<String>,
    /// The first is the primary one.
    pub(crate) private_ips: Vec<String>,
    pub(crate) ipv6: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) public_ip: Option<bool>,
}

/// What is done once the instance runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct After {
    /// Elastic IP addresses by the interface's index.
    pub(crate) addresses: Vec<(i32, String)>,
    /// The interfaces that may carry what is not their own.
    pub(crate) forwarding: Vec<i32>,
    /// Tags of single volumes, by their device.
    pub(crate) volume_tags: Vec<(String, Tags)>,
    pub(crate) wait_status_ok: bool,
    pub(crate) stop: bool,
}

/// Characters of the project and of the machine in an image's name: with all else it has 127, of
/// the 128 that are allowed.
const NAME_PART: usize = 32;
/// Bytes of a digest in a name or tag.
const SHORT_DIGEST: usize = 16;

/// The SHA-256 of values, in hexadecimal digits.
fn digest(values: &impl Serialize) -> String {
    // They have strings as keys alone, and nothing in them fails to be written.
    let bytes = serde_json::to_vec(values).unwrap_or_default();
    let mut text = String::new();
    for byte in Sha256::digest(&bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Request {
    /// Gives the image its name, both their digest, and the launch its token.
    pub(crate) fn new(
        (project, machine): (&str, &str),
        (kind, launch): (Kind, u32),
        mut image: ImageRequest,
        mut instance: InstanceRequest,
        after: After,
    ) -> Self {
        image.name.clear();
        // What is done afterwards may change: it is done to whatever is there.
        let mut whole = digest(&(&image, &instance));
        whole.truncate(SHORT_DIGEST.saturating_mul(2));
        let mut own = digest(&image);
        own.truncate(SHORT_DIGEST.saturating_mul(2));
        let short = |text: &str| -> String { text.chars().take(NAME_PART).collect() };
        image.name = format!(
            "rehost {}/{}/{launch}-{kind}/{own}",
            short(project),
            short(machine)
        );
        instance
            .instance_tag_set
            .insert(tag::REQUEST.to_owned(), whole);
        let token = digest(&("rehost launch", project, machine, kind, launch));
        Self {
            image,
            instance,
            after,
            token,
        }
    }

    /// The digest of all of it, as the instance's tag says it.
    pub(crate) fn digest(&self) -> &str {
        let tag = self.instance.instance_tag_set.get(tag::REQUEST);
        tag.map_or("", String::as_str)
    }
}

impl ImageRequest {
    pub(crate) fn call(&self, ec2: &Ec2) -> RegisterImageFluentBuilder {
        let mappings = self.mappings.iter().map(|mapping| Mapping {
            encrypted: false,
            kms_key: None,
            ..mapping.clone()
        });
        let mut call = ec2
            .0
            .sdk
            .register_image()
            .name(&self.name)
            .description(&self.description)
            .architecture(self.architecture.into())
            .virtualization_type("hvm")
            .boot_mode(self.boot_mode.into())
            .root_device_name(&self.root_device)
            .ena_support(self.ena)
            .set_uefi_data(self.uefi_data.clone())
            .set_block_device_mappings(Some(mappings.map(|mapping| mapping.sdk()).collect()))
            .tag_specifications(specification(ResourceType::Image, &self.tags));
        if self.sriov {
            call = call.sriov_net_support("simple");
        }
        if self.tpm {
            call = call.tpm_support("v2.0".into());
        }
        if self.imds_v2 {
            call = call.imds_support("v2.0".into());
        }
        call
    }
}

impl Mapping {
    fn sdk(&self) -> BlockDeviceMapping {
        let volume = EbsBlockDevice::builder()
            .set_snapshot_id(self.snapshot.clone())
            .volume_size(self.size_gib)
            .volume_type(self.volume_type.as_str().into())
            .set_iops(self.iops)
            .set_throughput(self.throughput)
            .set_volume_initialization_rate(self.initialization_rate)
            .delete_on_termination(self.delete_on_termination)
            // A volume of an encrypted snapshot is encrypted anyway, and may not be said not to be.
            .set_encrypted(self.encrypted.then_some(true))
            .set_kms_key_id(self.kms_key.clone())
            .build();
        BlockDeviceMapping::builder()
            .device_name(&self.device)
            .ebs(volume)
            .build()
    }
}

impl InstanceRequest {
    pub(crate) fn call(&self, ec2: &Ec2, image: &str, token: &str) -> RunInstancesFluentBuilder {
        let mut call = ec2
            .0
            .sdk
            .run_instances()
            .image_id(image)
            .client_token(token)
            .min_count(1)
            .max_count(1)
            .instance_type(self.instance_type.as_str().into())
            .set_key_name(self.key_name.clone())
            .set_user_data(self.user_data.clone())
            .set_ebs_optimized(self.ebs_optimized)
            .set_placement(self.placement());
        for interface in &self.interfaces {
            call = call.network_interfaces(interface.sdk());
        }
        for mapping in &self.mappings {
            call = call.block_device_mappings(mapping.sdk());
        }
        if let Some(profile) = &self.profile {
            let builder = IamInstanceProfileSpecification::builder();
            let builder = match profile {
                Profile::Arn(arn) => builder.arn(arn),
                Profile::Name(name) => builder.name(name),
            };
            call = call.iam_instance_profile(builder.build());
        }
        if let Some(cpu) = self.cpu {
            let options = CpuOptionsRequest::builder()
                .set_core_count(cpu.cores)
                .set_threads_per_core(cpu.threads);
            call = call.cpu_options(options.build());
        }
        if let Some(credits) = self.credits {
            let credits = CreditSpecificationRequest::builder().cpu_credits(credits);
            call = call.credit_specification(credits.build());
        }
        let enabled = |on: bool| if on { "enabled" } else { "disabled" };
        let metadata = InstanceMetadataOptionsRequest::builder()
            .set_http_tokens(self.http_tokens.map(Into::into))
            .set_http_put_response_hop_limit(self.hop_limit)
            .set_instance_metadata_tags(self.instance_tags.map(|on| enabled(on).into()))
            .build();
        if metadata != InstanceMetadataOptionsRequest::builder().build() {
            call = call.metadata_options(metadata);
        }
        if self.termination_protection {
            call = call.disable_api_termination(true);
        }
        call = call
            .tag_specifications(specification(
                ResourceType::Instance,
                &self.instance_tag_set,
            ))
            .tag_specifications(specification(ResourceType::Volume, &self.volume_tags));
        // Tags for what is not made are refused.
        let made = self.interfaces.iter().any(|one| one.existing.is_none());
        if made || self.interfaces.is_empty() {
            call = call.tag_specifications(specification(
                ResourceType::NetworkInterface,
                &self.interface_tags,
            ));
        }
        call
    }

    fn placement(&self) -> Option<Placement> {
        let placement = Placement::builder()
            .set_availability_zone(self.availability_zone.clone())
            .set_tenancy(self.tenancy.map(Into::into))
            .set_host_id(self.host_id.clone())
            .set_group_name(self.group.clone())
            .set_partition_number(self.partition)
            .build();
        (placement != Placement::builder().build()).then_some(placement)
    }
}

impl InterfaceRequest {
    fn sdk(&self) -> InstanceNetworkInterfaceSpecification {
        let builder = InstanceNetworkInterfaceSpecification::builder().device_index(self.index);
        if let Some(id) = &self.existing {
            return builder.network_interface_id(id).build();
        }
        let mut builder = builder
            .set_subnet_id(self.subnet.clone())
            .set_associate_public_ip_address(self.public_ip)
            .delete_on_termination(true);
        for group in &self.security_groups {
            builder = builder.groups(group);
        }
        for address in &self.ipv6 {
            let address = InstanceIpv6Address::builder().ipv6_address(address);
            builder = builder.ipv6_addresses(address.build());
        }
        for (at, address) in self.private_ips.iter().enumerate() {
            let address = PrivateIpAddressSpecification::builder()
                .private_ip_address(address)
                .primary(at == 0);
            builder = builder.private_ip_addresses(address.build());
        }
        builder.build()
    }
}

fn specification(of: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(of)
        .set_tags(Some(tag::write(tags)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageRequest {
        ImageRequest {
            name: String::new(),
            description: String::new(),
            architecture: "x86_64",
            boot_mode: "uefi",
            root_device: "/dev/sda1".to_owned(),
            ena: true,
            sriov: false,
            tpm: false,
            uefi_data: None,
            imds_v2: false,
            mappings: Vec::new(),
            tags: Tags::new(),
        }
    }

    fn request(machine: &str, launch: u32, image: ImageRequest) -> Request {
        let instance = InstanceRequest::default();
        let (names, launched) = (("p", machine), (Kind::Test, launch));
        Request::new(names, launched, image, instance, After::default())
    }

    #[test]
    fn a_name_fits_and_differs_by_all_that_is_asked() {
        let long = "m".repeat(64);
        let of_long = request(&long, u32::MAX, image());
        assert!(of_long.image.name.len() <= 128, "{}", of_long.image.name);
        let allowed =
            |letter: char| letter.is_ascii_alphanumeric() || "()[] ./-'@_".contains(letter);
        assert!(of_long.image.name.chars().all(allowed));
        let other = ImageRequest {
            boot_mode: "legacy-bios",
            ..image()
        };
        let (one, two) = (request("m", 1, image()), request("m", 1, other));
        assert_ne!(one.image.name, two.image.name);
        assert_eq!(one.image.name, request("m", 1, image()).image.name);
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest().len(), 32);
    }

    #[test]
    fn an_interface_is_there_or_made() {
        let made = InterfaceRequest {
            index: 1,
            subnet: Some("subnet-1".to_owned()),
            private_ips: vec!["10.0.0.9".to_owned(), "10.0.0.7".to_owned()],
            ipv6: vec!["2001:db8::7".to_owned()],
            ..InterfaceRequest::default()
        };
        let sent = made.sdk();
        let primary: Vec<_> = sent
            .private_ip_addresses()
            .iter()
            .map(|one| (one.private_ip_address().unwrap(), one.primary()))
            .collect();
        assert_eq!(
            primary,
            [("10.0.0.9", Some(true)), ("10.0.0.7", Some(false))]
        );
        assert_eq!(sent.ipv6_addresses()[0].ipv6_address(), Some("2001:db8::7"));
        assert_eq!(sent.delete_on_termination(), Some(true));
        let there = InterfaceRequest {
            existing: Some("eni-1".to_owned()),
            ..made
        };
        let sent = there.sdk();
        // Nothing else may be said about it, and it stays when the instance goes.
        let expected = InstanceNetworkInterfaceSpecification::builder()
            .device_index(1)
            .network_interface_id("eni-1");
        assert_eq!(sent, expected.build());
    }

    #[test]
    fn a_token_stands_for_the_launch() {
        let token = request("m", 1, image()).token;
        assert_eq!(token.len(), 64);
        assert_ne!(token, request("m", 2, image()).token);
        assert_ne!(token, request("m2", 1, image()).token);
        let other = ImageRequest {
            boot_mode: "legacy-bios",
            ..image()
        };
        assert_eq!(token, request("m", 1, other).token);
    }
}
