//! The least that IAM has to allow.

use super::{Action, tag};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What rehost is used for on EC2.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Use {
    /// Launches targets: `test`, `cutover`.
    Launch,
    /// Finds what there is: `status`, `gc`.
    Find,
    /// Removes targets: `test` and `cutover` again, `gc` with removal.
    Remove,
    /// Looks at what a launch would need; what it tries besides is in the others.
    Check,
}

/// What belongs to others and is used; without it, what needs it is not allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grants<'a> {
    /// The ARN of the role in the targets' instance profile.
    pub role: Option<&'a str>,
    /// The ARN of the key that volumes are encrypted with.
    pub kms_key: Option<&'a str>,
    /// Ids of interfaces that blueprints name.
    pub interfaces: &'a [&'a str],
    /// Allocation ids of Elastic IP addresses that blueprints name.
    pub addresses: &'a [&'a str],
}

impl Use {
    /// What it asks of EC2.
    pub fn actions(self) -> &'static [Action] {
        match self {
            Self::Launch => &[
                Action::AssociateAddress,
                Action::CreateTags,
                Action::DescribeAddresses,
                Action::DescribeImages,
                Action::DescribeInstanceStatus,
                Action::DescribeInstances,
                Action::GetConsoleOutput,
                Action::ModifyNetworkInterfaceAttribute,
                Action::RegisterImage,
                Action::RunInstances,
                Action::StopInstances,
            ],
            Self::Find => &[
                Action::DescribeImages,
                Action::DescribeInstances,
                Action::DescribeNetworkInterfaces,
                Action::DescribeVolumes,
            ],
            Self::Remove => &[
                Action::DeleteNetworkInterface,
                Action::DeleteVolume,
                Action::DeregisterImage,
                Action::DescribeImages,
                Action::DescribeInstances,
                Action::DescribeNetworkInterfaces,
                Action::DescribeVolumes,
                Action::ModifyInstanceAttribute,
                Action::TerminateInstances,
            ],
            Self::Check => &[
                Action::DescribeAddresses,
                Action::DescribeImages,
                Action::DescribeInstanceTypeOfferings,
                Action::DescribeInstances,
                Action::DescribeKeyPairs,
                Action::DescribeNetworkInterfaces,
                Action::DescribeSecurityGroups,
                Action::DescribeSubnets,
                Action::DescribeVolumes,
                Action::GetEbsEncryptionByDefault,
            ],
        }
    }
}

/// Statements that allow these uses, for a policy of IAM; their Sids begin with `Target`.
///
/// What is made has to be made with our tag, and what is changed or removed has to bear it. Subnets,
/// security groups, key pairs, placement groups and hosts can be used whichever they are: which ones
/// a target may have is better limited by a policy of their owners. The partition of ARNs is `*`, which
/// is for all of them: validators refuse `aws*`.
pub fn policy(uses: &[Use], grants: &Grants<'_>) -> Vec<Value> {
    let wanted: BTreeSet<Action> = uses.iter().flat_map(|one| one.actions()).copied().collect();
    let names = |of: &[Action]| -> Vec<&str> {
        let asked = of.iter().filter(|action| wanted.contains(action));
        asked.map(|action| action.iam()).collect()
    };
    let tagged = |key: &str| json!({"StringEquals": {key: tag::TOOL_VALUE}});
    let request_tag = format!("aws:RequestTag/{}", tag::TOOL);
    let resource_tag = format!("aws:ResourceTag/{}", tag::TOOL);
    let arn = |name: &str| format!("arn:*:ec2:*:*:{name}");
    // The ARNs of images and snapshots have no account.
    let image = "arn:*:ec2:*::image/*".to_owned();
    let snapshot = "arn:*:ec2:*::snapshot/*".to_owned();
    let own = [
        image.clone(),
        arn("instance/*"),
        arn("volume/*"),
        arn("network-interface/*"),
    ];
    let mut statements = Vec::new();
    let mut allow = |sid: &str, actions: &[&str], on: &[String], condition: Option<Value>| {
        if actions.is_empty() || on.is_empty() {
            return;
        }
        let mut statement = json!({
            "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": on,
        });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statements.push(statement);
    };
    let register = names(&[Action::RegisterImage]);
    allow(
        "TargetRegister",
        &register,
        std::slice::from_ref(&image),
        Some(tagged(&request_tag)),
    );
    // Snapshots of others are images of others.
    let of_snapshot = std::slice::from_ref(&snapshot);
    let ours = tagged(&resource_tag);
    allow(
        "TargetRegisterFrom",
        &register,
        of_snapshot,
        Some(ours.clone()),
    );
    let run = names(&[Action::RunInstances]);
    let made = [
        arn("instance/*"),
        arn("volume/*"),
        arn("network-interface/*"),
    ];
    allow("TargetRun", &run, &made, Some(tagged(&request_tag)));
    let from = [image.clone(), snapshot];
    allow("TargetRunFrom", &run, &from, Some(ours.clone()));
    let place = [
        arn("subnet/*"),
        arn("security-group/*"),
        arn("key-pair/*"),
        arn("placement-group/*"),
        arn("dedicated-host/*"),
    ];
    allow("TargetRunIn", &run, &place, None);
    let interfaces = grants.interfaces.iter();
    let interfaces: Vec<String> = interfaces
        .map(|id| arn(&format!("network-interface/{id}")))
        .collect();
    allow("TargetRunWith", &run, &interfaces, None);
    let tags = names(&[Action::CreateTags]);
    let as_made = json!({"StringEquals": {
        "ec2:CreateAction": ["RegisterImage", "RunInstances"],
        request_tag.as_str(): tag::TOOL_VALUE,
    }});
    allow("TargetTagMade", &tags, &own, Some(as_made));
    allow("TargetTag", &tags, &own, Some(ours.clone()));
    let change = names(&[
        Action::StopInstances,
        Action::GetConsoleOutput,
        Action::ModifyNetworkInterfaceAttribute,
        Action::TerminateInstances,
        Action::ModifyInstanceAttribute,
        Action::DeleteVolume,
        Action::DeleteNetworkInterface,
        Action::DeregisterImage,
    ]);
    allow("TargetOwn", &change, &own, Some(ours.clone()));
    let associate = names(&[Action::AssociateAddress]);
    let addresses = grants.addresses.iter();
    let addresses: Vec<String> = addresses
        .map(|id| arn(&format!("elastic-ip/{id}")))
        .collect();
    allow("TargetAddress", &associate, &addresses, None);
    if !addresses.is_empty() {
        let to = [arn("instance/*"), arn("network-interface/*")];
        allow("TargetAddressTo", &associate, &to, Some(ours));
    }
    // Describe actions know no resources.
    let describe: Vec<&str> = wanted
        .iter()
        .filter(|action| action.is_read_only())
        .map(|action| action.iam())
        .collect();
    allow("TargetDescribe", &describe, &["*".to_owned()], None);
    if wanted.contains(&Action::RunInstances) {
        let role: Vec<String> = grants.role.iter().map(|arn| (*arn).to_owned()).collect();
        let service = json!({"StringLike": {"iam:PassedToService": "ec2.amazonaws.com*"}});
        allow("TargetPass", &["iam:PassRole"], &role, Some(service));
        let key: Vec<String> = grants.kms_key.iter().map(|arn| (*arn).to_owned()).collect();
        let actions = [
            "kms:DescribeKey",
            "kms:Decrypt",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncrypt*",
        ];
        allow("TargetKey", &actions, &key, None);
        let service = json!({"Bool": {"kms:GrantIsForAWSResource": "true"}});
        allow("TargetKeyGrant", &["kms:CreateGrant"], &key, Some(service));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Use; 4] = [Use::Launch, Use::Find, Use::Remove, Use::Check];

    fn strings(value: &Value) -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn all_that_is_asked_is_allowed() {
        let grants = Grants {
            addresses: &["eipalloc-1"],
            ..Grants::default()
        };
        for one in ALL {
            let statements = policy(&[one], &grants);
            let allowed: BTreeSet<String> = statements
                .iter()
                .flat_map(|statement| strings(&statement["Action"]))
                .collect();
            let asked: BTreeSet<String> = one
                .actions()
                .iter()
                .map(|action| action.iam().to_owned())
                .collect();
            assert_eq!(allowed, asked, "{one:?}");
        }
    }

    #[test]
    fn what_is_not_ours_cannot_be_changed() {
        let open = [
            "TargetRunIn",
            "TargetRunWith",
            "TargetAddress",
            "TargetDescribe",
            "TargetKey",
        ];
        let grants = Grants {
            role: Some("arn:aws:iam::123456789012:role/web"),
            kms_key: Some("arn:aws:kms:us-east-1:123456789012:key/1"),
            interfaces: &["eni-1"],
            addresses: &["eipalloc-1"],
        };
        let statements = policy(&ALL, &grants);
        for statement in &statements {
            let sid = statement["Sid"].as_str().unwrap();
            let is_open = open.contains(&sid);
            assert_eq!(statement["Condition"].is_null(), is_open, "{sid}");
            for resource in strings(&statement["Resource"]) {
                let granted = ["TargetPass", "TargetKey", "TargetKeyGrant"].contains(&sid);
                let partition = if granted { "arn:aws:" } else { "arn:*:" };
                let is_arn = resource.starts_with(partition) || sid == "TargetDescribe";
                assert!(is_arn, "{sid}: {resource}");
            }
            let wide = strings(&statement["Resource"]).contains(&"*".to_owned());
            assert_eq!(wide, sid == "TargetDescribe", "{sid}");
        }
        let pass = statements
            .iter()
            .find(|statement| statement["Sid"] == "TargetPass");
        assert_eq!(pass.unwrap()["Resource"], json!([grants.role.unwrap()]));
        assert!(policy(&[], &grants).is_empty());
    }

    #[test]
    fn no_role_and_no_key_is_no_grant() {
        let statements = policy(&ALL, &Grants::default());
        let actions = statements.iter().flat_map(|one| strings(&one["Action"]));
        assert!(actions.clone().all(|action| action.starts_with("ec2:")));
        assert!(!actions.clone().any(|action| action.contains("Associate")));
    }
}
