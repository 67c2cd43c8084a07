//! What is said about AWS, whichever command uses it.

use crate::ebs::Connection;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const HEADING: &str = "AWS";

/// How EBS is reached, where an argument is `ebs:` or `ebs:SNAPSHOT`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AwsArgs {
    /// The region of the snapshots [default: AWS_REGION, the profile's, or the instance's]
    #[arg(long, value_name = "REGION", help_heading = HEADING)]
    pub(crate) region: Option<String>,
    /// The profile in ~/.aws that has the credentials [default: AWS_PROFILE, or `default`]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub(crate) profile: Option<String>,
    /// Where EBS and EC2 answer, instead of AWS's own addresses: a VPC endpoint, a fake
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = HEADING)]
    pub(crate) endpoint_url: Option<String>,
    /// Trust these certificates (PEM) besides the host's [default: AWS_CA_BUNDLE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = HEADING)]
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Move at most N million bits of blocks in a second, all disks together
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub(crate) max_mbps: Option<f64>,
    /// Send at most N requests in a second, all disks together
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub(crate) max_requests: Option<f64>,
    /// The most requests at one time, which a blueprint may say.
    #[arg(skip)]
    pub(crate) concurrency: Option<u32>,
    /// Clones share it, and so its limits.
    #[arg(skip)]
    pub(crate) connection: Connection,
}

/// What snapshots are like that are made in EBS.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct UploadArgs {
    /// Encrypt snapshots with the account's default key; a child is encrypted as its parent is
    #[arg(long, help_heading = HEADING)]
    pub(crate) encrypt: bool,
    /// Encrypt snapshots with this key, by its full ARN
    #[arg(long, value_name = "ARN", help_heading = HEADING)]
    pub(crate) kms_key: Option<String>,
    /// Do not encrypt snapshots; refused where the account encrypts by default
    #[arg(long, conflicts_with_all = ["encrypt", "kms_key"], help_heading = HEADING)]
    pub(crate) unencrypted: bool,
    /// Also give snapshots this tag; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag, help_heading = HEADING)]
    pub(crate) tag: Vec<(String, String)>,
    /// Leave holes of the disk out of encrypted snapshots too
    ///
    /// What a volume has there is undefined then, and may look random. Without this they are put as
    /// zeros, for an image may tell zeros that the guest wrote as a hole.
    #[arg(long, help_heading = HEADING)]
    pub(crate) no_zero_fill: bool,
    /// Keep journals and indexes of uploads in DIR [default: REHOST_STATE, else
    /// $XDG_STATE_HOME/rehost, else ~/.local/state/rehost]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = HEADING)]
    pub(crate) state: Option<PathBuf>,
    /// What a blueprint says of `no_zero_fill`; it may be about a store, where it means nothing.
    #[arg(skip)]
    pub(crate) blueprint_no_zero_fill: bool,
    /// Minutes that the service keeps an upload, which a blueprint may say.
    #[arg(skip)]
    pub(crate) timeout_minutes: Option<u16>,
    /// The project that the machine belongs to; snapshots of another one are not looked at.
    #[arg(skip)]
    pub(crate) project: String,
}

impl UploadArgs {
    /// Whether anything is said on the command line.
    pub(crate) fn is_given(&self) -> bool {
        let Self {
            encrypt,
            kms_key,
            unencrypted,
            tag,
            no_zero_fill,
            state,
            blueprint_no_zero_fill: _,
            timeout_minutes: _,
            project,
        } = self;
        *encrypt
            || kms_key.is_some()
            || *unencrypted
            || !tag.is_empty()
            || *no_zero_fill
            || state.is_some()
            || !project.is_empty()
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is KEY=VALUE".to_owned()),
    }
}
