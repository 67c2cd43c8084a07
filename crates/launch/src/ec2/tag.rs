//! The tags by which targets are found again. Those of snapshots have the same names.

use super::Error;
use aws_sdk_ec2::types::{Filter, Tag};
use std::collections::BTreeMap;

/// The tag whose value says that rehost made it; policies name it.
pub const TOOL: &str = "rehost:tool";
/// The value of [`TOOL`].
pub const TOOL_VALUE: &str = "rehost";
/// The project that the machine belongs to.
pub const PROJECT: &str = "rehost:project";
/// The machine.
pub const MACHINE: &str = "rehost:machine";
/// What it was launched for: a [`Kind`](super::Kind).
pub const KIND: &str = "rehost:kind";
/// The number of the launch of the machine.
pub const LAUNCH: &str = "rehost:launch";
/// What was asked for, as a digest.
pub const REQUEST: &str = "rehost:request";
/// The disk of the machine that a volume is.
pub const DISK: &str = "rehost:disk";
/// How far it is: absent until the launch is complete, then [`LAUNCHED`], or what the lifecycle
/// makes of it.
pub const STATE: &str = "rehost:state";
/// The first value of [`STATE`].
pub const LAUNCHED: &str = "launched";

/// The prefix of all of ours.
const OURS: &str = "rehost:";
/// The most tags of a resource, and characters of a key and a value.
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
/// Tags that are added when the launch is under way: disk and state.
const LATER: usize = 2;

/// Tags by their key.
pub(crate) type Tags = BTreeMap<String, String>;

/// The tags of an answer; what has no key is none.
pub(crate) fn read(tags: &[Tag]) -> Tags {
    let pair = |tag: &Tag| {
        let value = tag.value().unwrap_or_default().to_owned();
        tag.key().map(|key| (key.to_owned(), value))
    };
    tags.iter().filter_map(pair).collect()
}

pub(crate) fn write(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

/// What bears our tags of that project, and machine if one is named.
pub(crate) fn filters(project: &str, machine: Option<&str>) -> Vec<Filter> {
    let mut wanted = vec![(TOOL, TOOL_VALUE), (PROJECT, project)];
    wanted.extend(machine.map(|machine| (MACHINE, machine)));
    let filter = |(key, value)| {
        let name = format!("tag:{key}");
        Filter::builder().name(name).values(value).build()
    };
    wanted.into_iter().map(filter).collect()
}

/// Whether they are our tags of that project and machine; which one is not, if not.
pub(crate) fn check_ours(tags: &Tags, project: &str, machine: Option<&str>) -> Result<(), String> {
    let mut wanted = vec![(TOOL, TOOL_VALUE), (PROJECT, project)];
    wanted.extend(machine.map(|machine| (MACHINE, machine)));
    for (key, value) in wanted {
        match tags.get(key) {
            Some(found) if found == value => {}
            Some(found) => return Err(format!("its tag {key} is {found:?}, not {value:?}")),
            None => return Err(format!("it has no tag {key}")),
        }
    }
    Ok(())
}

/// Adds what the user wants to ours, within EC2's limits.
pub(crate) fn with_users(
    ours: &Tags,
    users: &BTreeMap<String, String>,
    field: &str,
) -> Result<Tags, Error> {
    let wrong = |why: String| Error::Request {
        field: field.to_owned(),
        why,
    };
    for (key, value) in users {
        if key.is_empty() || key.chars().count() > MAX_KEY {
            return Err(wrong(format!(
                "the key {key:?} does not have 1 to {MAX_KEY} characters"
            )));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(wrong(format!(
                "the value of {key:?} has more than {MAX_VALUE} characters"
            )));
        }
        if key.starts_with("aws:") || key.starts_with(OURS) {
            return Err(wrong(format!(
                "the key {key:?} is reserved; choose one that begins with neither aws: nor {OURS}"
            )));
        }
    }
    let mut all = ours.clone();
    all.extend(users.clone());
    let most = MAX_TAGS.saturating_sub(LATER);
    if all.len() > most {
        let (ours, users) = (all.len().saturating_sub(users.len()), users.len());
        return Err(wrong(format!(
            "{users} tags and {ours} of rehost's own are more than the {most} that fit"
        )));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(pairs: &[(&str, &str)]) -> Tags {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn reserved_long_and_too_many_tags_are_refused() {
        let ours = users(&[(TOOL, TOOL_VALUE)]);
        let add = |users: &Tags| with_users(&ours, users, "tags");
        assert_eq!(add(&users(&[("Name", "web1")])).unwrap().len(), 2);
        let long = "ü".repeat(129);
        for (key, value) in [
            ("", "x"),
            ("aws:x", "x"),
            ("rehost:tool", "x"),
            (long.as_str(), "x"),
            ("x", &"y".repeat(257)),
        ] {
            assert!(add(&users(&[(key, value)])).is_err(), "{key:?}");
        }
        let many: Tags = (0..48)
            .map(|at| (format!("k{at}"), String::new()))
            .collect();
        assert!(add(&many).is_err());
        assert!(add(&many.into_iter().take(47).collect()).is_ok());
    }

    #[test]
    fn ours_are_those_of_the_project_and_machine() {
        let tags = users(&[(TOOL, TOOL_VALUE), (PROJECT, "p"), (MACHINE, "m")]);
        assert_eq!(check_ours(&tags, "p", Some("m")), Ok(()));
        assert_eq!(check_ours(&tags, "p", None), Ok(()));
        assert!(
            check_ours(&tags, "p", Some("m2"))
                .unwrap_err()
                .contains("m2")
        );
        assert!(check_ours(&tags, "q", Some("m")).is_err());
        assert!(
            check_ours(&Tags::new(), "p", None)
                .unwrap_err()
                .contains(TOOL)
        );
    }
}
