//! The official SDK as a client of EC2: it decides whether names, lists and times have the right form.

use crate::query::{GROUP, SUBNET_A};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeType, BootModeValues, EbsBlockDevice, Filter,
    HttpTokensState, IamInstanceProfileSpecification, ImageState, ImdsSupportValues, Instance,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceStateName,
    InstanceType, Placement, PrivateIpAddressSpecification, ResourceType, SummaryStatus, Tag,
    TagSpecification, Tenancy, VolumeState, VolumeType,
};
use fake_aws::{Config, FakeAws, Seed, Signatures};
use std::time::{Duration, Instant};

fn fake() -> FakeAws {
    let credentials = fake_aws::Credentials {
        access_key: "AKIDFAKE".into(),
        secret_key: "secret".into(),
        session_token: None,
    };
    FakeAws::start(Config {
        signatures: Signatures::Verify(vec![credentials]),
        ..Config::default()
    })
    .expect("a fake")
}

fn client(fake: &FakeAws) -> Client {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(fake.endpoint())
        .credentials_provider(Credentials::new("AKIDFAKE", "secret", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn tags(kind: ResourceType) -> TagSpecification {
    let tag = Tag::builder()
        .key("rehost:machine")
        .value("web 1 <ü>")
        .build();
    TagSpecification::builder()
        .resource_type(kind)
        .tags(tag)
        .build()
}

#[track_caller]
fn assert_tagged(tags: &[Tag]) {
    let [tag] = tags else {
        panic!("{tags:?}");
    };
    assert_eq!(
        (tag.key(), tag.value()),
        (Some("rehost:machine"), Some("web 1 <ü>"))
    );
}

fn machine() -> Filter {
    Filter::builder()
        .name("tag:rehost:machine")
        .values("web 1 <ü>")
        .build()
}

fn code<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: SdkError<E, R>,
) -> (u16, String)
where
    SdkError<E, R>: HasStatus,
{
    let status = error.status();
    let code = error.as_service_error().and_then(|error| error.code());
    (status, code.expect("a code").to_owned())
}

/// The status of the answer in an error.
trait HasStatus {
    fn status(&self) -> u16;
}

impl<E> HasStatus for SdkError<E, aws_sdk_ec2::config::http::HttpResponse> {
    fn status(&self) -> u16 {
        self.raw_response().expect("an answer").status().as_u16()
    }
}

async fn described(client: &Client, id: &str) -> Instance {
    let answer = client
        .describe_instances()
        .instance_ids(id)
        .send()
        .await
        .expect("instances");
    let [reservation] = answer.reservations() else {
        panic!("{answer:?}");
    };
    assert_eq!(reservation.owner_id(), Some("123456789012"));
    reservation.instances()[0].clone()
}

async fn until(client: &Client, id: &str, state: InstanceStateName) -> Instance {
    let begin = Instant::now();
    loop {
        let instance = described(client, id).await;
        if instance.state().and_then(|it| it.name()) == Some(&state) {
            return instance;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{instance:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sdk_goes_from_snapshots_to_a_machine_and_back() {
    let fake = fake();
    let client = client(&fake);
    let seed = || fake.seed_snapshot(Seed::default()).expect("a snapshot");
    let (root, data) = (seed(), seed());
    let mapping = |device: &str, ebs: EbsBlockDevice| {
        BlockDeviceMapping::builder()
            .device_name(device)
            .ebs(ebs)
            .build()
    };
    let root_volume = EbsBlockDevice::builder()
        .snapshot_id(&root)
        .volume_type(VolumeType::Gp3)
        .volume_size(10)
        .iops(4000)
        .throughput(250)
        .delete_on_termination(true);
    let data_volume = EbsBlockDevice::builder()
        .snapshot_id(&data)
        .volume_initialization_rate(200);
    let image = client
        .register_image()
        .name("web-1/2026")
        .architecture(ArchitectureValues::X8664)
        .virtualization_type("hvm")
        .root_device_name("/dev/sda1")
        .boot_mode(BootModeValues::Uefi)
        .ena_support(true)
        .imds_support(ImdsSupportValues::V20)
        .block_device_mappings(mapping("/dev/sda1", root_volume.build()))
        .block_device_mappings(mapping("/dev/sdf", data_volume.build()))
        .tag_specifications(tags(ResourceType::Image))
        .send()
        .await
        .expect("an image");
    let image = image.image_id().expect("an id").to_owned();
    let images = client
        .describe_images()
        .owners("self")
        .filters(machine())
        .send()
        .await
        .expect("images");
    let [seen] = images.images() else {
        panic!("{images:?}");
    };
    assert_eq!(seen.image_id(), Some(image.as_str()));
    assert_eq!(seen.state(), Some(&ImageState::Available));
    assert_eq!(seen.architecture(), Some(&ArchitectureValues::X8664));
    assert_eq!(seen.boot_mode(), Some(&BootModeValues::Uefi));
    assert_eq!(seen.ena_support(), Some(true));
    assert_eq!(seen.imds_support(), Some(&ImdsSupportValues::V20));
    assert_eq!(seen.root_device_name(), Some("/dev/sda1"));
    assert_tagged(seen.tags());
    let [first, second] = seen.block_device_mappings() else {
        panic!("{seen:?}");
    };
    let first = first.ebs().expect("a volume");
    assert_eq!(first.snapshot_id(), Some(root.as_str()));
    assert_eq!((first.iops(), first.throughput()), (Some(4000), Some(250)));
    let second = second.ebs().expect("a volume");
    assert_eq!(second.volume_initialization_rate(), Some(200));

    let interface = InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(SUBNET_A)
        .groups(GROUP)
        .delete_on_termination(true)
        .private_ip_addresses(
            PrivateIpAddressSpecification::builder()
                .private_ip_address("10.0.1.10")
                .primary(true)
                .build(),
        )
        .private_ip_addresses(
            PrivateIpAddressSpecification::builder()
                .private_ip_address("10.0.1.11")
                .primary(false)
                .build(),
        );
    let run = client
        .run_instances()
        .image_id(&image)
        .instance_type(InstanceType::M5Large)
        .min_count(1)
        .max_count(1)
        .client_token("launch-1")
        .network_interfaces(interface.build())
        .iam_instance_profile(
            IamInstanceProfileSpecification::builder()
                .name("rehost-target")
                .build(),
        )
        .metadata_options(
            InstanceMetadataOptionsRequest::builder()
                .http_tokens(HttpTokensState::Required)
                .http_put_response_hop_limit(3)
                .build(),
        )
        .placement(
            Placement::builder()
                .availability_zone("us-east-1a")
                .tenancy(Tenancy::Dedicated)
                .build(),
        )
        .user_data("aGVsbG8=")
        .disable_api_termination(true)
        .tag_specifications(tags(ResourceType::Instance))
        .tag_specifications(tags(ResourceType::Volume))
        .tag_specifications(tags(ResourceType::NetworkInterface));
    let dry = run.clone().dry_run(true).send().await.expect_err("dry");
    assert_eq!(code(dry), (412, "DryRunOperation".into()));
    let answer = run.clone().send().await.expect("an instance");
    let id = answer.instances()[0]
        .instance_id()
        .expect("an id")
        .to_owned();
    let again = run.clone().send().await.expect("the same instance");
    assert_eq!(again.instances()[0].instance_id(), Some(id.as_str()));
    let other = run.key_name("rehost").send().await.expect_err("another");
    assert_eq!(code(other), (400, "IdempotentParameterMismatch".into()));

    let instance = until(&client, &id, InstanceStateName::Running).await;
    assert_eq!(instance.instance_type(), Some(&InstanceType::M5Large));
    assert_eq!(instance.image_id(), Some(image.as_str()));
    assert_eq!(instance.private_ip_address(), Some("10.0.1.10"));
    assert_eq!(instance.subnet_id(), Some(SUBNET_A));
    assert_eq!(instance.boot_mode(), Some(&BootModeValues::Uefi));
    assert_eq!(
        instance.current_instance_boot_mode().map(|it| it.as_str()),
        Some("uefi")
    );
    assert_eq!(instance.client_token(), Some("launch-1"));
    assert!(instance.launch_time().expect("a time").secs() > 1_700_000_000);
    assert_tagged(instance.tags());
    let options = instance.metadata_options().expect("options");
    assert_eq!(options.http_tokens(), Some(&HttpTokensState::Required));
    assert_eq!(options.http_put_response_hop_limit(), Some(3));
    let placement = instance.placement().expect("a placement");
    assert_eq!(placement.tenancy(), Some(&Tenancy::Dedicated));
    let [nic] = instance.network_interfaces() else {
        panic!("{instance:?}");
    };
    assert_eq!(nic.private_ip_addresses().len(), 2);
    assert_eq!(nic.groups()[0].group_name(), Some("web"));
    let attachment = nic.attachment().expect("an attachment");
    assert_eq!(attachment.delete_on_termination(), Some(true));
    let devices = instance.block_device_mappings();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].device_name(), Some("/dev/sda1"));
    assert!(devices[0].ebs().expect("a volume").attach_time().is_some());

    let volumes = client.describe_volumes().filters(machine()).send().await;
    let volumes = volumes.expect("volumes");
    assert_eq!(volumes.volumes().len(), 2);
    let root_volume = volumes
        .volumes()
        .iter()
        .find(|it| it.snapshot_id() == Some(&root));
    let root_volume = root_volume.expect("the root's volume");
    assert_eq!(root_volume.size(), Some(10));
    assert_eq!(root_volume.volume_type(), Some(&VolumeType::Gp3));
    assert_eq!(root_volume.state(), Some(&VolumeState::InUse));
    assert_eq!(
        root_volume.attachments()[0].instance_id(),
        Some(id.as_str())
    );
    assert_tagged(root_volume.tags());
    let interfaces = client
        .describe_network_interfaces()
        .filters(machine())
        .send()
        .await;
    assert_eq!(
        interfaces.expect("interfaces").network_interfaces().len(),
        1
    );

    let begin = Instant::now();
    loop {
        let status = client
            .describe_instance_status()
            .instance_ids(&id)
            .send()
            .await;
        let status = status.expect("a status");
        let summary = status.instance_statuses()[0].instance_status().expect("it");
        if summary.status() == Some(&SummaryStatus::Ok) {
            break;
        }
        assert_eq!(summary.status(), Some(&SummaryStatus::Initializing));
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    let console = client.get_console_output().instance_id(&id).latest(true);
    assert!(console.send().await.expect("a console").output().is_some());

    let terminate = client.terminate_instances().instance_ids(&id);
    let refused = terminate.clone().send().await.expect_err("protected");
    assert_eq!(code(refused), (400, "OperationNotPermitted".into()));
    client
        .modify_instance_attribute()
        .instance_id(&id)
        .disable_api_termination(
            aws_sdk_ec2::types::AttributeBooleanValue::builder()
                .value(false)
                .build(),
        )
        .send()
        .await
        .expect("unprotected");
    let answer = terminate.send().await.expect("terminated");
    let change = &answer.terminating_instances()[0];
    let current = change.current_state().and_then(|it| it.name());
    assert_eq!(current, Some(&InstanceStateName::ShuttingDown));
    let gone = until(&client, &id, InstanceStateName::Terminated).await;
    assert!(gone.private_ip_address().is_none() && gone.block_device_mappings().is_empty());
    client
        .deregister_image()
        .image_id(&image)
        .send()
        .await
        .expect("gone");
    for snapshot in [root, data] {
        client
            .delete_snapshot()
            .snapshot_id(snapshot)
            .send()
            .await
            .expect("gone");
    }
    let left = fake.resources();
    assert!(left.images.is_empty() && left.volumes.is_empty() && left.interfaces.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sdk_reads_what_there_is_from_the_start() {
    let fake = fake();
    let client = client(&fake);
    let types = client
        .describe_instance_types()
        .instance_types(InstanceType::M6gLarge)
        .instance_types(InstanceType::T3Micro)
        .send()
        .await
        .expect("types");
    let [arm, small] = types.instance_types() else {
        panic!("{types:?}");
    };
    assert_eq!(arm.instance_type(), Some(&InstanceType::M6gLarge));
    assert_eq!(arm.supported_boot_modes(), [BootModeType::Uefi]);
    let memory = small.memory_info().and_then(|it| it.size_in_mib());
    assert_eq!(memory, Some(1024));
    assert_eq!(
        small.v_cpu_info().and_then(|it| it.default_v_cpus()),
        Some(2)
    );
    let network = small.network_info().expect("network");
    assert_eq!(network.maximum_network_interfaces(), Some(2));
    assert_eq!(network.ipv4_addresses_per_interface(), Some(2));
    let ebs = small.ebs_info().expect("EBS");
    assert_eq!(ebs.maximum_ebs_attachments(), Some(27));
    let every = client
        .describe_instance_types()
        .max_results(20)
        .into_paginator();
    let every: Vec<_> = every.items().send().collect().await;
    assert!(every.len() > 40 && every.iter().all(Result::is_ok));

    let subnets = client.describe_subnets().subnet_ids(SUBNET_A).send().await;
    let subnets = subnets.expect("subnets");
    assert_eq!(subnets.subnets()[0].cidr_block(), Some("10.0.1.0/24"));
    assert_eq!(subnets.subnets()[0].available_ip_address_count(), Some(251));
    let groups = client
        .describe_security_groups()
        .group_ids(GROUP)
        .send()
        .await;
    let groups = groups.expect("groups");
    assert_eq!(groups.security_groups()[0].group_name(), Some("web"));
    let zones = client
        .describe_availability_zones()
        .send()
        .await
        .expect("zones");
    assert_eq!(
        zones.availability_zones()[1].zone_name(),
        Some("us-east-1b")
    );
    let keys = client.describe_key_pairs().key_names("rehost").send().await;
    assert_eq!(keys.expect("keys").key_pairs().len(), 1);
    let refused = client
        .describe_subnets()
        .subnet_ids("subnet-0")
        .send()
        .await;
    let refused = refused.expect_err("unknown");
    assert_eq!(code(refused), (400, "InvalidSubnetID.NotFound".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sdk_makes_volumes_interfaces_addresses_and_tags() {
    let fake = fake();
    let client = client(&fake);
    let volume = client
        .create_volume()
        .availability_zone("us-east-1a")
        .size(20)
        .volume_type(VolumeType::Io2)
        .iops(500)
        .tag_specifications(tags(ResourceType::Volume))
        .send()
        .await
        .expect("a volume");
    assert_eq!((volume.size(), volume.iops()), (Some(20), Some(500)));
    assert!(volume.create_time().is_some());
    let volume = volume.volume_id().expect("an id").to_owned();

    let interface = client
        .create_network_interface()
        .subnet_id(SUBNET_A)
        .groups(GROUP)
        .private_ip_address("10.0.1.10")
        .send()
        .await
        .expect("an interface");
    let interface = interface.network_interface().expect("it");
    assert_eq!(interface.private_ip_address(), Some("10.0.1.10"));
    assert_eq!(interface.groups()[0].group_id(), Some(GROUP));
    let interface = interface.network_interface_id().expect("an id").to_owned();

    let address = client
        .allocate_address()
        .domain(aws_sdk_ec2::types::DomainType::Vpc)
        .tag_specifications(tags(ResourceType::ElasticIp))
        .send()
        .await
        .expect("an address");
    let allocation = address.allocation_id().expect("an id").to_owned();
    let association = client
        .associate_address()
        .allocation_id(&allocation)
        .network_interface_id(&interface)
        .send()
        .await
        .expect("an association");
    let seen = client.describe_addresses().filters(machine()).send().await;
    let seen = seen.expect("addresses");
    assert_eq!(
        seen.addresses()[0].association_id(),
        association.association_id()
    );
    assert_eq!(seen.addresses()[0].public_ip(), address.public_ip());
    assert_eq!(seen.addresses()[0].private_ip_address(), Some("10.0.1.10"));
    let association = association.association_id().expect("an id");
    let disassociate = client.disassociate_address().association_id(association);
    disassociate.send().await.expect("free");

    let tag = Tag::builder().key("a").value("b").build();
    client
        .create_tags()
        .resources(&volume)
        .resources(&interface)
        .tags(tag.clone())
        .send()
        .await
        .expect("tags");
    let all = client.describe_tags().send().await.expect("tags");
    let of_volume = |it: &&aws_sdk_ec2::types::TagDescription| {
        it.resource_type() == Some(&ResourceType::Volume)
    };
    assert_eq!(all.tags().iter().filter(of_volume).count(), 2);
    let delete = client.delete_tags().resources(&volume).tags(tag);
    delete.send().await.expect("no tag");

    client
        .release_address()
        .allocation_id(allocation)
        .send()
        .await
        .expect("gone");
    client
        .delete_volume()
        .volume_id(volume)
        .send()
        .await
        .expect("gone");
    let delete = client
        .delete_network_interface()
        .network_interface_id(interface);
    delete.send().await.expect("gone");
}
