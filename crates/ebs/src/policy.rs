//! The least that IAM has to allow.

use crate::{Action, tag};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What rehost is used for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Use {
    /// Makes snapshots: `replicate --to ebs:`, `convert -o ebs:`, `copy … ebs:`.
    Write,
    /// Reads snapshots: `ebs:snap-…` as a source.
    Read,
    /// Lists and shows snapshots, and finds abandoned ones.
    List,
    /// Compares two snapshots by their blocks: `diff`.
    Diff,
    /// Removes snapshots: `rm`, `gc`.
    Remove,
}

impl Use {
    /// What it asks of AWS.
    pub fn actions(self) -> &'static [Action] {
        match self {
            Self::Write => &[
                Action::StartSnapshot,
                Action::CreateTags,
                Action::PutSnapshotBlock,
                Action::CompleteSnapshot,
                Action::DescribeSnapshots,
            ],
            Self::Read => &[Action::ListSnapshotBlocks, Action::GetSnapshotBlock],
            Self::List => &[Action::DescribeSnapshots],
            Self::Diff => &[Action::ListChangedBlocks],
            Self::Remove => &[Action::DescribeSnapshots, Action::DeleteSnapshot],
        }
    }
}

/// The least policy for these uses, as a document for IAM.
///
/// Making and removing is allowed for snapshots with rehost's own tag alone. Snapshots that others
/// made can be read by adding them to the statement `Read`. `kms_key`, the ARN of the key that
/// snapshots are encrypted with, adds what using the key takes. The partition of ARNs is `*`, which is
/// for all of them: validators refuse `aws*`.
pub fn iam_policy(uses: &[Use], kms_key: Option<&str>) -> Value {
    let wanted: BTreeSet<Action> = uses.iter().flat_map(|one| one.actions()).copied().collect();
    let names = |of: &[Action]| -> Vec<&str> {
        let asked = of.iter().filter(|action| wanted.contains(action));
        asked.map(|action| action.iam()).collect()
    };
    // Their ARNs have no account.
    let snapshots = "arn:*:ec2:*::snapshot/*";
    let tagged = |key: &str| json!({"StringEquals": {key: tag::TOOL_VALUE}});
    let request_tag = format!("aws:RequestTag/{}", tag::TOOL);
    let resource_tag = format!("aws:ResourceTag/{}", tag::TOOL);
    let mut statements = Vec::new();
    let mut allow = |sid: &str, actions: Vec<&str>, resource: &str, condition: Option<Value>| {
        if actions.is_empty() {
            return;
        }
        let mut statement = json!({
            "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource,
        });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statements.push(statement);
    };
    let begin = [Action::StartSnapshot, Action::CreateTags];
    allow(
        "Begin",
        names(&begin),
        snapshots,
        Some(tagged(&request_tag)),
    );
    let fill = [Action::PutSnapshotBlock, Action::CompleteSnapshot];
    allow("Fill", names(&fill), snapshots, Some(tagged(&resource_tag)));
    let read = [
        Action::ListSnapshotBlocks,
        Action::ListChangedBlocks,
        Action::GetSnapshotBlock,
    ];
    allow("Read", names(&read), snapshots, Some(tagged(&resource_tag)));
    // Describe actions know no resources.
    allow("Describe", names(&[Action::DescribeSnapshots]), "*", None);
    let remove = names(&[Action::DeleteSnapshot]);
    allow("Remove", remove, snapshots, Some(tagged(&resource_tag)));
    if let Some(key) = kms_key {
        let writes = wanted.contains(&Action::StartSnapshot);
        let reads = wanted.contains(&Action::GetSnapshotBlock);
        let mut actions = Vec::new();
        if writes || reads {
            actions.extend(["kms:DescribeKey", "kms:Decrypt"]);
        }
        if writes {
            actions.extend(["kms:GenerateDataKey*", "kms:ReEncrypt*"]);
        }
        allow("Key", actions, key, None);
        if writes {
            let service = json!({"Bool": {"kms:GrantIsForAWSResource": "true"}});
            allow("KeyGrant", vec!["kms:CreateGrant"], key, Some(service));
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(policy: &Value) -> Vec<String> {
        let mut all: Vec<String> = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|statement| statement["Action"].as_array().unwrap())
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_policy_has_what_is_used_and_nothing_else() {
        let read = iam_policy(&[Use::Read], None);
        assert_eq!(
            actions(&read),
            ["ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"]
        );
        let write = iam_policy(&[Use::Write], None);
        let expected = [
            "ebs:CompleteSnapshot",
            "ebs:PutSnapshotBlock",
            "ebs:StartSnapshot",
            "ec2:CreateTags",
            "ec2:DescribeSnapshots",
        ];
        assert_eq!(actions(&write), expected);
        assert_eq!(iam_policy(&[], None)["Statement"], json!([]));
    }

    #[test]
    fn snapshots_of_others_cannot_be_touched() {
        let all = [Use::Write, Use::Read, Use::List, Use::Diff, Use::Remove];
        let policy = iam_policy(&all, Some("arn:aws:kms:us-east-1:123456789012:key/1"));
        for statement in policy["Statement"].as_array().unwrap() {
            let sid = statement["Sid"].as_str().unwrap();
            let open = sid == "Describe" || sid == "Key";
            assert_eq!(statement["Condition"].is_null(), open, "{sid}");
            assert!(statement["Resource"] != "*" || sid == "Describe");
            let resource = statement["Resource"].as_str().unwrap();
            let partition = resource.split(':').nth(1);
            let expected = match sid {
                "Describe" => None,
                "Key" | "KeyGrant" => Some("aws"),
                _ => Some("*"),
            };
            assert_eq!(partition, expected, "{resource}");
        }
        assert!(actions(&policy).contains(&"kms:CreateGrant".to_owned()));
    }
}
