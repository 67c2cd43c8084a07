//! Filters of the Describe actions, with their wildcards.

use super::form::Form;
use super::refusal::value;
use crate::error::Refusal;
use std::collections::BTreeMap;

/// The most values of one filter, from the API's reference.
const VALUES: usize = 200;

/// The filters of a request: all must fit, of each any value.
#[derive(Debug)]
pub(super) struct Filters<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> Filters<'a> {
    /// Reads the filters, of which the action knows `names` besides `tag:KEY` and `tag-key`.
    pub(super) fn parse(form: &'a Form, names: &[&str]) -> Result<Filters<'a>, Refusal> {
        let mut filters = Vec::new();
        for filter in form.whole().items("Filter") {
            let name = filter.needed("Name")?;
            let values = filter.list("Value");
            if values.is_empty() {
                return Err(value(format!("the filter {name} has no value")));
            }
            if values.len() > VALUES {
                return Err(value(format!("the filter {name} has over {VALUES} values")));
            }
            let tag = name.strip_prefix("tag:").is_some_and(|key| !key.is_empty());
            if !tag && name != "tag-key" && !names.contains(&name) {
                return Err(value(format!("The filter '{name}' is invalid")));
            }
            filters.push((name, values));
        }
        Ok(Filters(filters))
    }

    /// Whether they let pass what has these tags, and these facts by the filters' names.
    pub(super) fn pass(
        &self,
        tags: &BTreeMap<String, String>,
        facts: impl Fn(&str) -> Vec<String>,
    ) -> bool {
        self.0.iter().all(|(name, values)| {
            let has = match name.strip_prefix("tag:") {
                Some(key) => tags.get(key).cloned().into_iter().collect(),
                None if *name == "tag-key" => tags.keys().cloned().collect(),
                None => facts(name),
            };
            values.iter().any(|pattern| {
                has.iter()
                    .any(|text| matches(pattern.as_bytes(), text.as_bytes()))
            })
        })
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
