//! `rehost iam-policy`

use crate::args::IamPolicyArgs;
use crate::{ebs, migration, output};
use anyhow::Result;
use std::process::ExitCode;

pub(super) fn run(args: &IamPolicyArgs) -> Result<ExitCode> {
    let mut policy = ebs::policy(args.commands(), args.kms_key.as_deref())?;
    if let Some(statements) = policy["Statement"].as_array_mut() {
        statements.extend(migration::policy(args));
    }
    output::json(&policy)?;
    Ok(ExitCode::SUCCESS)
}
