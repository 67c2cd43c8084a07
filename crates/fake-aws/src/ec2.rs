//! The few actions of EC2 that the EBS side needs, in the query protocol: a form in, XML out.

use crate::action::{Action, pairs, snapshot_id};
use crate::chance::Setting;
use crate::clock::iso;
use crate::ebs::Success;
use crate::error::{Refusal, escape};
use crate::snapshot::{Phase, Snapshot};
use crate::world::World;
use bytes::Bytes;
use hyper::StatusCode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The version of the API, which every request names.
const VERSION: &str = "2016-11-15";

/// A request: its action and its parameters, each once.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) action: Action,
    name: String,
    parameters: BTreeMap<String, String>,
}

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Form {
        let text = String::from_utf8_lossy(body);
        let parameters: BTreeMap<String, String> = pairs(&text, true).into_iter().collect();
        let name = parameters.get("Action").cloned().unwrap_or_default();
        Form {
            action: Action::of_ec2(&name).unwrap_or(Action::Unknown),
            name,
            parameters,
        }
    }

    /// The snapshot that the request is about, if it is one only.
    pub(crate) fn snapshot(&self) -> Option<String> {
        let names = ["SnapshotId", "SnapshotId.1", "ResourceId.1"];
        names
            .iter()
            .find_map(|name| self.parameters.get(*name))
            .cloned()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// `NAME.1`, `NAME.2` and so on.
    fn list(&self, name: &str) -> Vec<&str> {
        (1..=self.parameters.len())
            .map_while(|number| self.get(&format!("{name}.{number}")))
            .collect()
    }

    fn is_dry_run(&self) -> bool {
        self.get("DryRun")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

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
        Action::DescribeSnapshots => describe(world, setting, form)?,
        Action::DeleteSnapshot => delete(world, form)?,
        Action::CreateTags => create_tags(world, form)?,
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

fn describe(world: &World, setting: &Setting, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("SnapshotId");
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let visible = |snapshot: &Arc<Snapshot>| snapshot.born.elapsed() >= lag;
    let mut found = if ids.is_empty() {
        world.snapshots().into_iter().filter(visible).collect()
    } else {
        let find = |id: &&str| {
            well_formed(id).and_then(|()| {
                world
                    .snapshot(id)
                    .filter(visible)
                    .ok_or_else(|| no_snapshot(id))
            })
        };
        ids.iter().map(find).collect::<Result<Vec<_>, _>>()?
    };
    let owners = form.list("Owner");
    if !owners.is_empty()
        && !owners
            .iter()
            .any(|owner| *owner == "self" || *owner == world.config.account)
    {
        found.clear();
    }
    for number in 1..=form.parameters.len() {
        let Some(name) = form.get(&format!("Filter.{number}.Name")) else {
            break;
        };
        let values = form.list(&format!("Filter.{number}.Value"));
        if values.is_empty() {
            return Err(value(format!("the filter {name} has no value")));
        }
        let filter = Filter::parse(name)?;
        found.retain(|snapshot| {
            let has = filter.of(world, snapshot);
            values.iter().any(|pattern| {
                has.iter()
                    .any(|text| matches(pattern.as_bytes(), text.as_bytes()))
            })
        });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let (page, next) = page(world, form, &ids, found)?;
    let mut body = "<snapshotSet>".to_owned();
    for snapshot in page {
        item(world, &snapshot, &mut body);
    }
    body.push_str("</snapshotSet>");
    if let Some(next) = next {
        element(&mut body, "nextToken", &next);
    }
    Ok(body)
}

/// Cuts the page that MaxResults and NextToken ask for.
fn page(
    world: &World,
    form: &Form,
    ids: &[&str],
    found: Vec<Arc<Snapshot>>,
) -> Result<(Vec<Arc<Snapshot>>, Option<String>), Refusal> {
    let skip = match form.get("NextToken") {
        None | Some("") => 0,
        Some(token) => world
            .tokens
            .read::<1>("describe", token)
            .and_then(|[skip]| usize::try_from(skip).ok())
            .ok_or_else(|| value("the NextToken is not valid"))?,
    };
    let most = match form.get("MaxResults") {
        None => found.len(),
        Some(_) if !ids.is_empty() => {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "InvalidParameterCombination",
                "The parameter SnapshotId cannot be used with the parameter MaxResults",
            ));
        }
        // Values above are allowed, and mean the most.
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|most| *most >= 5)
            .ok_or_else(|| value(format!("MaxResults must be 5 to 1000, not {text}")))?
            .min(1000),
    };
    let total = found.len();
    let page: Vec<_> = found.into_iter().skip(skip).take(most).collect();
    let after = skip + page.len();
    let next = u64::try_from(after)
        .ok()
        .filter(|_| after < total && !page.is_empty());
    Ok((
        page,
        next.map(|after| world.tokens.make("describe", &[after])),
    ))
}

fn item(world: &World, snapshot: &Snapshot, body: &mut String) {
    let live = snapshot.live(world.minute());
    body.push_str("<item>");
    element(body, "snapshotId", &snapshot.id);
    // What the real service says of snapshots that no volume made.
    element(body, "volumeId", "vol-ffffffff");
    element(body, "status", live.phase.status());
    if let Phase::Error(why) = &live.phase {
        element(body, "statusMessage", why);
    }
    element(body, "startTime", &iso(snapshot.start_time));
    element(
        body,
        "progress",
        if live.phase == Phase::Completed {
            "100%"
        } else {
            "0%"
        },
    );
    element(body, "ownerId", &world.config.account);
    element(body, "volumeSize", &snapshot.origin.volume_size.to_string());
    element(
        body,
        "description",
        snapshot.origin.description.as_deref().unwrap_or_default(),
    );
    element(
        body,
        "encrypted",
        if snapshot.origin.key.is_some() {
            "true"
        } else {
            "false"
        },
    );
    if let Some(key) = &snapshot.origin.key {
        element(body, "kmsKeyId", key);
        element(body, "sseType", "sse-kms");
    }
    element(body, "storageTier", "standard");
    if !live.tags.is_empty() {
        body.push_str("<tagSet>");
        for (key, value) in &live.tags {
            body.push_str("<item>");
            element(body, "key", key);
            element(body, "value", value);
            body.push_str("</item>");
        }
        body.push_str("</tagSet>");
    }
    body.push_str("</item>");
}

fn delete(world: &World, form: &Form) -> Result<String, Refusal> {
    let id = form
        .get("SnapshotId")
        .ok_or_else(|| missing("snapshotId"))?;
    well_formed(id)?;
    // Children keep what they inherit, as in the real service.
    world.remove(id).ok_or_else(|| no_snapshot(id))?;
    Ok("<return>true</return>".into())
}

fn create_tags(world: &World, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("ResourceId");
    if ids.is_empty() {
        return Err(missing("resourceIdSet"));
    }
    let mut snapshots = Vec::new();
    for id in ids {
        if !id.starts_with("snap-") {
            let message = format!("The ID '{id}' is not valid: this fake tags snapshots only");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidID", message));
        }
        well_formed(id)?;
        snapshots.push(world.snapshot(id).ok_or_else(|| no_snapshot(id))?);
    }
    let mut tags = BTreeMap::new();
    for number in 1..=form.parameters.len() {
        let Some(key) = form.get(&format!("Tag.{number}.Key")) else {
            break;
        };
        let text = form.get(&format!("Tag.{number}.Value")).unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 || text.chars().count() > 256 {
            return Err(value(format!(
                "the tag {key:?}: a key has 1 to 128 characters, a value 256"
            )));
        }
        if key.starts_with("aws:") {
            return Err(value(
                "Tag keys starting with 'aws:' are reserved for internal use",
            ));
        }
        if tags.insert(key.to_owned(), text.to_owned()).is_some() {
            return Err(value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    if tags.is_empty() {
        return Err(missing("tagSet"));
    }
    // All of them or none: first the limit for each.
    for snapshot in &snapshots {
        let live = snapshot.live(world.minute());
        let keys: BTreeSet<&String> = live.tags.keys().chain(tags.keys()).collect();
        if keys.len() > 50 {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "TagLimitExceeded",
                format!(
                    "{} would have {} tags, 50 are allowed",
                    snapshot.id,
                    keys.len()
                ),
            ));
        }
    }
    for snapshot in &snapshots {
        snapshot.live(world.minute()).tags.extend(tags.clone());
    }
    Ok("<return>true</return>".into())
}

/// A filter of DescribeSnapshots.
#[derive(Debug)]
enum Filter {
    Tag(String),
    TagKey,
    Status,
    SnapshotId,
    VolumeSize,
    OwnerId,
    Description,
    Encrypted,
    StartTime,
    Progress,
    VolumeId,
}

impl Filter {
    fn parse(name: &str) -> Result<Filter, Refusal> {
        Ok(match name {
            "tag-key" => Filter::TagKey,
            "status" => Filter::Status,
            "snapshot-id" => Filter::SnapshotId,
            "volume-size" => Filter::VolumeSize,
            "owner-id" => Filter::OwnerId,
            "description" => Filter::Description,
            "encrypted" => Filter::Encrypted,
            "start-time" => Filter::StartTime,
            "progress" => Filter::Progress,
            "volume-id" => Filter::VolumeId,
            _ => match name.strip_prefix("tag:") {
                Some(key) if !key.is_empty() => Filter::Tag(key.to_owned()),
                _ => return Err(value(format!("The filter '{name}' is invalid"))),
            },
        })
    }

    /// What the filter compares of a snapshot.
    fn of(&self, world: &World, snapshot: &Snapshot) -> Vec<String> {
        let live = snapshot.live(world.minute());
        match self {
            Filter::Tag(key) => live.tags.get(key).cloned().into_iter().collect(),
            Filter::TagKey => live.tags.keys().cloned().collect(),
            Filter::Status => vec![live.phase.status().into()],
            Filter::SnapshotId => vec![snapshot.id.clone()],
            Filter::VolumeSize => vec![snapshot.origin.volume_size.to_string()],
            Filter::OwnerId => vec![world.config.account.clone()],
            Filter::Description => vec![snapshot.origin.description.clone().unwrap_or_default()],
            Filter::Encrypted => vec![snapshot.origin.key.is_some().to_string()],
            Filter::StartTime => vec![iso(snapshot.start_time)],
            Filter::Progress => {
                vec![
                    if live.phase == Phase::Completed {
                        "100%"
                    } else {
                        "0%"
                    }
                    .into(),
                ]
            }
            Filter::VolumeId => vec!["vol-ffffffff".into()],
        }
    }
}

/// Whether `text` is what `pattern` says: `*` is any text, `?` any byte, `\` makes the next plain.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on after the last star: pattern behind it, and the text that it has not swallowed.
    let mut star: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut text) = (pattern, text);
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([b'\\', plain, rest @ ..], [byte, after @ ..]) if plain == byte => {
                (pattern, text) = (rest, after);
                continue;
            }
            ([b'?', rest @ ..], [_, after @ ..]) => {
                (pattern, text) = (rest, after);
                continue;
            }
            ([plain, rest @ ..], [byte, after @ ..]) if plain == byte && *plain != b'\\' => {
                (pattern, text) = (rest, after);
                continue;
            }
            _ => {}
        }
        // The star takes one byte more; there are only so many.
        let Some((rest, [_, after @ ..])) = star else {
            return false;
        };
        star = Some((rest, after));
        (pattern, text) = (rest, after);
    }
}

fn element(body: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(body, "<{name}>{}</{name}>", escape(text));
}

fn well_formed(id: &str) -> Result<(), Refusal> {
    snapshot_id(id).map(|_| ()).map_err(|_| {
        let message = format!("Invalid id: \"{id}\" (expecting \"snap-...\")");
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "InvalidSnapshotID.Malformed",
            message,
        )
    })
}

fn no_snapshot(id: &str) -> Refusal {
    let message = format!("The snapshot '{id}' does not exist.");
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidSnapshot.NotFound", message)
}

fn missing(name: &str) -> Refusal {
    let message = format!("The request must contain the parameter {name}");
    Refusal::new(StatusCode::BAD_REQUEST, "MissingParameter", message)
}

fn value(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameterValue", message)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_have_wildcards() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c*", "abcbd", true),
            ("a*d", "abc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("*ab*ab", "abxabyab", true),
            ("web", "web-1", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
