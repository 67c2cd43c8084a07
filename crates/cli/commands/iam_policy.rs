//! `rehost iam-policy`

use crate::args::IamPolicyArgs;
use crate::{ebs, output};
use anyhow::Result;
use std::process::ExitCode;

pub(super) fn run(args: &IamPolicyArgs) -> Result<ExitCode> {
    output::json(&ebs::policy(args.commands(), args.kms_key.as_deref())?)?;
    Ok(ExitCode::SUCCESS)
}
