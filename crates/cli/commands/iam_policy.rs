//! `rehost iam-policy`

use crate::args::IamPolicyArgs;
use crate::{ebs, migration, output};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::ExitCode;

pub(super) fn run(args: &IamPolicyArgs) -> Result<ExitCode> {
    let (commands, kms_key) = (args.commands(), args.kms_key.as_deref());
    let mut policy = ebs::policy(commands, kms_key)?;
    let targets = migration::policy(commands, args.role.as_deref(), kms_key)?;
    let statements = policy.get_mut("Statement").and_then(Value::as_array_mut);
    statements
        .context("the policy has no statements")?
        .extend(targets);
    output::json(&policy)?;
    Ok(ExitCode::SUCCESS)
}
