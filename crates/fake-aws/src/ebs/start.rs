//! StartSnapshot: its limits, encryption, parents and client tokens.

use super::{Success, parameter, seconds};
use crate::action::{Action, Service, snapshot_id};
use crate::chance::Setting;
use crate::error::Refusal;
use crate::snapshot::{BLOCK, Origin, Phase, Snapshot};
use crate::world::World;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Minutes of Timeout when it is not given.
const DEFAULT_TIMEOUT: i64 = 60;

/// The request's body; the service ignores members that it does not know.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    volume_size: Option<i64>,
    parent_snapshot_id: Option<String>,
    tags: Option<Vec<Tag>>,
    description: Option<String>,
    #[serde(skip_serializing)]
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

/// StartSnapshot; also the snapshot that was made or found.
pub(crate) fn start(
    world: &World,
    setting: &Setting,
    body: &[u8],
) -> Result<(Success, Arc<Snapshot>), Refusal> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "SerializationException",
            error.to_string(),
        )
    })?;
    let tags = request.tags()?;
    if !tags.is_empty() && setting.faults.denied.contains(&Action::CreateTags) {
        // To start a snapshot with tags needs the permission to tag, too.
        let refusal = Refusal::denied(Service::Ec2, Action::CreateTags, &world.config.account);
        return Err(Refusal {
            code: "AccessDeniedException",
            ..refusal
        }
        .because("DEPENDENCY_ACCESS_DENIED"));
    }
    request.check()?;
    // What the request asks for, but for the token itself.
    let parameters = serde_json::to_string(&request)
        .map_err(|error| parameter(format!("unreadable parameters: {error}")))?;
    let token = request
        .client_token
        .clone()
        .map(|token| (token, parameters));
    let snapshot = world.start(token, tags, || request.origin(world, setting))?;
    let success = answer(world, &snapshot);
    Ok((success, snapshot))
}

impl Request {
    /// The limits that need no look at the account.
    fn check(&self) -> Result<(), Refusal> {
        self.volume_size()?;
        if self
            .description
            .as_ref()
            .is_some_and(|text| text.chars().count() > 255)
        {
            return Err(parameter("Description has more than 255 characters"));
        }
        if let Some(token) = &self.client_token
            && (token.is_empty()
                || token.len() > 64
                || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(parameter(
                "ClientToken must be 1 to 64 printable ASCII characters",
            ));
        }
        if let Some(timeout) = self.timeout
            && !(10..=4320).contains(&timeout)
        {
            return Err(parameter(format!(
                "Timeout must be 10 to 4320 minutes, not {timeout}"
            )));
        }
        if let Some(arn) = &self.kms_key_arn
            && !is_key_arn(arn)
        {
            return Err(Refusal::validation(
                "INVALID_CUSTOMER_KEY",
                format!("KmsKeyArn {arn:?} is not arn:aws:kms:REGION:ACCOUNT:key/ID"),
            ));
        }
        if self.parent_snapshot_id.is_some() && self.encrypted.is_some() {
            return Err(parameter(
                "ParentSnapshotId and Encrypted exclude each other",
            ));
        }
        if self.parent_snapshot_id.is_some() && self.kms_key_arn.is_some() {
            return Err(parameter(
                "ParentSnapshotId and KmsKeyArn exclude each other",
            ));
        }
        if self.encrypted == Some(false) && self.kms_key_arn.is_some() {
            return Err(parameter("Encrypted is false, but there is a KmsKeyArn"));
        }
        if let Some(parent) = &self.parent_snapshot_id {
            snapshot_id(parent)?;
        }
        Ok(())
    }

    fn volume_size(&self) -> Result<u32, Refusal> {
        self.volume_size
            .and_then(|size| u32::try_from(size).ok())
            .filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| {
                Refusal::validation("INVALID_VOLUME_SIZE", "VolumeSize must be 1 to 65536 GiB")
            })
    }

    fn tags(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let mut tags = BTreeMap::new();
        let invalid = |message: String| Refusal::validation("INVALID_TAG", message);
        let given = self.tags.as_deref().unwrap_or_default();
        if given.len() > 50 {
            return Err(invalid(format!("{} tags, 50 are allowed", given.len())));
        }
        for tag in given {
            let key = tag.key.clone().unwrap_or_default();
            let value = tag.value.clone().unwrap_or_default();
            if key.is_empty() || key.chars().count() > 127 || value.chars().count() > 255 {
                return Err(invalid(format!(
                    "the tag {key:?} is too long, or empty: a key has 1 to 127 characters, a value 255"
                )));
            }
            if key.starts_with("aws:") {
                return Err(invalid(format!("the tag {key:?}: aws: is reserved")));
            }
            if tags.insert(key.clone(), value).is_some() {
                return Err(invalid(format!("the tag {key:?} is there twice")));
            }
        }
        Ok(tags)
    }

    /// What needs a look at the account: the parent and the key.
    fn origin(&self, world: &World, setting: &Setting) -> Result<Origin, Refusal> {
        let volume_size = self.volume_size()?;
        let by_default = setting.faults.encryption_by_default;
        let parent = match &self.parent_snapshot_id {
            None => None,
            Some(id) => Some(parent(world, id, volume_size)?),
        };
        let key = match (&parent, self.encrypted, &self.kms_key_arn) {
            (Some(parent), ..) => {
                if parent.origin.key.is_none() && by_default {
                    return Err(parameter(
                        "the parent is not encrypted, and the account has encryption by default: \
                         copy the parent to an encrypted snapshot first",
                    ));
                }
                parent.origin.key.clone()
            }
            (None, Some(false), _) if by_default => {
                return Err(parameter(
                    "the account has encryption by default: Encrypted must not be false",
                ));
            }
            (None, Some(false), _) => None,
            (None, _, Some(key)) => Some(key.clone()),
            (None, Some(true), None) => Some(world.config.default_key.clone()),
            (None, None, None) => by_default.then(|| world.config.default_key.clone()),
        };
        if let Some(key) = &key
            && !world.config.keys.is_empty()
            && *key != world.config.default_key
            && !world.config.keys.contains(key)
        {
            return Err(Refusal::validation(
                "INVALID_CUSTOMER_KEY",
                format!("the key {key} does not exist"),
            ));
        }
        let timeout = u64::try_from(self.timeout.unwrap_or(DEFAULT_TIMEOUT)).unwrap_or_default();
        Ok(Origin {
            parent,
            volume_size,
            key,
            description: self.description.clone(),
            timeout,
        })
    }
}

fn parent(world: &World, id: &str, volume_size: u32) -> Result<Arc<Snapshot>, Refusal> {
    let parent = world.find(id)?;
    let phase = parent.live(world.minute()).phase.clone();
    if phase != Phase::Completed {
        let message = format!("the parent '{id}' is not completed but {}", phase.status());
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    if parent.origin.volume_size > volume_size {
        let message = format!(
            "VolumeSize {volume_size} is less than the parent's {}",
            parent.origin.volume_size
        );
        return Err(Refusal::validation("INVALID_VOLUME_SIZE", message));
    }
    Ok(parent)
}

/// `arn:aws*:kms:REGION:TWELVE DIGITS:key/ID`: an alias or a bare id is refused.
fn is_key_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [arn, partition, "kms", region, account, key] = parts.as_slice() else {
        return false;
    };
    let id = key.strip_prefix("key/").unwrap_or_default();
    *arn == "arn"
        && partition.starts_with("aws")
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn answer(world: &World, snapshot: &Snapshot) -> Success {
    let live = snapshot.live(world.minute());
    let origin = &snapshot.origin;
    let mut body = json!({
        "SnapshotId": snapshot.id,
        "OwnerId": world.config.account,
        "Status": live.phase.status(),
        "StartTime": seconds(snapshot.start_time),
        "VolumeSize": origin.volume_size,
        "BlockSize": BLOCK,
    });
    if let Some(parent) = &origin.parent {
        body["ParentSnapshotId"] = parent.id.as_str().into();
    }
    if let Some(key) = &origin.key {
        body["KmsKeyArn"] = key.as_str().into();
        body["SseType"] = "sse-kms".into();
    }
    if let Some(text) = &origin.description {
        body["Description"] = text.as_str().into();
    }
    if !live.tags.is_empty() {
        let tag = |(key, value): (&String, &String)| json!({ "Key": key, "Value": value });
        body["Tags"] = live.tags.iter().map(tag).collect();
    }
    Success::json(StatusCode::CREATED, &body)
}
