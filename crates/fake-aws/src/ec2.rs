//! The few actions of EC2 that the EBS side needs, in the query protocol: a form in, XML out.

mod filter;
mod form;
mod page;
mod refusal;
mod snapshots;
mod tags;
mod xml;

use crate::action::Action;
use crate::chance::Setting;
use crate::ebs::Success;
use crate::error::Refusal;
use crate::world::World;
use bytes::Bytes;
use hyper::StatusCode;

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
        let message = format!("the Version must be {VERSION}");
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValue",
            message,
        ));
    }
    if form.action != Action::Unknown && form.is_dry_run() {
        return Err(Refusal::new(
            StatusCode::PRECONDITION_FAILED,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ));
    }
    let body = match form.action {
        Action::DescribeSnapshots => snapshots::describe(world, setting, form)?,
        Action::DeleteSnapshot => snapshots::delete(world, form)?,
        Action::CreateTags => tags::create_tags(world, form)?,
        Action::GetEbsEncryptionByDefault => format!(
            "<ebsEncryptionByDefault>{}</ebsEncryptionByDefault><sseType>sse-kms</sseType>",
            setting.faults.encryption_by_default
        ),
        _ => {
            let message = format!(
                "The action {} is not valid for this web service.",
                form.name
            );
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "InvalidAction",
                message,
            ));
        }
    };
    let name = form.action.name();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/{VERSION}/\"><requestId>{request}</requestId>{body}\
         </{name}Response>"
    );
    Ok(Success {
        status: StatusCode::OK,
        headers: Vec::new(),
        body: Bytes::from(body),
        content_type: "text/xml;charset=UTF-8",
    })
}
