//! The actions of EC2, in the query protocol: a form in, XML out.

mod addresses;
mod cloud;
mod disk;
mod filter;
mod form;
mod id;
mod images;
mod instances;
mod interfaces;
mod launch;
mod life;
mod mapping;
mod network;
mod page;
mod refusal;
mod run;
mod snapshots;
mod tags;
mod types;
mod view;
mod volumes;
mod xml;

use crate::action::Action;
use crate::chance::Setting;
use crate::ebs::Success;
use crate::error::Refusal;
use crate::world::World;
use bytes::Bytes;
use hyper::StatusCode;
use refusal::{bad, value};
use xml::Xml;

pub use addresses::{Address, Association};
pub use disk::{Shape, VolumeType};
pub use images::Image;
pub use instances::{Instance, InstanceState, Metadata};
pub use interfaces::{Interface, InterfaceAttachment};
pub use mapping::Mapping;
pub use view::Resources;
pub use volumes::{Volume, VolumeAttachment};

pub(crate) use cloud::Cloud;
pub(crate) use form::Form;

/// The version of the API, which every request names.
const VERSION: &str = "2016-11-15";

/// Answers a request.
pub(crate) fn act(
    world: &World,
    setting: &Setting,
    form: &Form,
    request: &str,
) -> Result<Success, Refusal> {
    if form.get("Version") != Some(VERSION) {
        return Err(value(format!("the Version must be {VERSION}")));
    }
    let xml = dispatch(world, setting, form)?;
    let name = form.action.name();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/{VERSION}/\"><requestId>{request}</requestId>{}\
         </{name}Response>",
        xml.finish()
    );
    Ok(Success {
        status: StatusCode::OK,
        headers: Vec::new(),
        body: Bytes::from(body),
        content_type: "text/xml;charset=UTF-8",
    })
}

fn dispatch(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    match form.action {
        Action::DescribeSnapshots => snapshots::describe(world, setting, form),
        Action::DeleteSnapshot => snapshots::delete(world, form),
        Action::GetEbsEncryptionByDefault => {
            form.settle()?;
            let mut xml = Xml::default();
            xml.text(
                "ebsEncryptionByDefault",
                setting.faults.encryption_by_default,
            );
            xml.text("sseType", "sse-kms");
            Ok(xml)
        }
        Action::CreateTags => tags::create(world, form),
        Action::DeleteTags => tags::delete(world, form),
        Action::DescribeTags => tags::describe(world, form),
        Action::RegisterImage => images::register(world, setting, form),
        Action::DeregisterImage => images::deregister(world, form),
        Action::DescribeImages => images::describe(world, setting, form),
        Action::RunInstances => run::run(world, setting, form),
        Action::DescribeInstances => instances::describe(world, setting, form),
        Action::DescribeInstanceStatus => instances::status(world, setting, form),
        Action::GetConsoleOutput => instances::console(world, setting, form),
        Action::StartInstances => life::start(world, setting, form),
        Action::StopInstances => life::stop(world, setting, form),
        Action::TerminateInstances => life::terminate(world, setting, form),
        Action::ModifyInstanceAttribute => life::modify(world, form),
        Action::CreateVolume => volumes::create(world, setting, form),
        Action::DeleteVolume => volumes::delete(world, form),
        Action::AttachVolume => volumes::attach(world, form),
        Action::DetachVolume => volumes::detach(world, form),
        Action::DescribeVolumes => volumes::describe(world, setting, form),
        Action::CreateNetworkInterface => interfaces::create(world, form),
        Action::DeleteNetworkInterface => interfaces::delete(world, form),
        Action::ModifyNetworkInterfaceAttribute => interfaces::modify(world, form),
        Action::DescribeNetworkInterfaces => interfaces::describe(world, form),
        Action::AllocateAddress => addresses::allocate(world, form),
        Action::AssociateAddress => addresses::associate(world, form),
        Action::DisassociateAddress => addresses::disassociate(world, form),
        Action::ReleaseAddress => addresses::release(world, form),
        Action::DescribeAddresses => addresses::describe(world, form),
        Action::DescribeInstanceTypes => types::describe(world, form),
        Action::DescribeSubnets => network::subnets(world, form),
        Action::DescribeSecurityGroups => network::security_groups(world, form),
        Action::DescribeAvailabilityZones => network::zones(world, form),
        Action::DescribeKeyPairs => network::key_pairs(world, form),
        Action::Unknown
        | Action::StartSnapshot
        | Action::PutSnapshotBlock
        | Action::CompleteSnapshot
        | Action::ListSnapshotBlocks
        | Action::ListChangedBlocks
        | Action::GetSnapshotBlock => {
            let message = format!(
                "The action {} is not valid for this web service.",
                form.name
            );
            Err(bad("InvalidAction", message))
        }
    }
}
