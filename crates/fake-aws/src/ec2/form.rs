//! The query protocol's form: an action and its parameters.

use super::refusal::{self, missing, value};
use crate::action::{Action, pairs};
use crate::error::Refusal;
use hyper::StatusCode;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A request: its action and its parameters, each once.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) action: Action,
    pub(super) name: String,
    parameters: BTreeMap<String, String>,
    /// The parameters that somebody asked for; the others are unknown, and refused.
    read: RefCell<BTreeSet<String>>,
}

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Form {
        let text = String::from_utf8_lossy(body);
        let parameters: BTreeMap<String, String> = pairs(&text, true).into_iter().collect();
        let name = parameters.get("Action").cloned().unwrap_or_default();
        let known = ["Action", "Version", "DryRun"].map(str::to_owned);
        Form {
            action: Action::of_ec2(&name).unwrap_or(Action::Unknown),
            name,
            parameters,
            read: RefCell::new(known.into()),
        }
    }

    /// The snapshot that the request is about, if it is one only.
    pub(crate) fn snapshot(&self) -> Option<String> {
        let names = ["SnapshotId", "SnapshotId.1", "ResourceId.1"];
        names
            .iter()
            .find_map(|name| self.parameters.get(*name))
            .filter(|id| id.starts_with("snap-"))
            .cloned()
    }

    /// All parameters, by their whole names.
    pub(super) fn whole(&self) -> Scope<'_> {
        Scope {
            form: self,
            prefix: String::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (name, text) = self.parameters.get_key_value(name)?;
        self.read.borrow_mut().insert(name.clone());
        Some(text)
    }

    /// `NAME.1`, `NAME.2` and so on.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..=self.parameters.len())
            .map_while(|number| self.get(&format!("{name}.{number}")))
            .collect()
    }

    /// What two requests with one client token must have in common.
    pub(super) fn fingerprint(&self) -> String {
        let apart = ["ClientToken", "DryRun"];
        let said = self.parameters.iter();
        let said = said.filter(|(name, _)| !apart.contains(&name.as_str()));
        said.map(|(name, text)| format!("{name}={text}\n"))
            .collect()
    }

    /// Ends the checks: refuses what nobody has read, and answers DryRun. What follows takes effect.
    pub(super) fn settle(&self) -> Result<(), Refusal> {
        let dry = self.whole().flag("DryRun")?.unwrap_or(false);
        let read = self.read.borrow();
        if let Some(name) = self.parameters.keys().find(|name| !read.contains(*name)) {
            // Either the service does not know it, or this fake would silently do without it.
            let message = format!("The parameter {name} is not recognized");
            return Err(refusal::bad("UnknownParameter", message));
        }
        if dry {
            return Err(Refusal::new(
                StatusCode::PRECONDITION_FAILED,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            ));
        }
        Ok(())
    }
}

/// The parameters under a prefix, as `BlockDeviceMapping.1.Ebs.`.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    form: &'a Form,
    prefix: String,
}

impl<'a> Scope<'a> {
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.form.get(&self.full(name))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(super) fn needed(&self, name: &str) -> Result<&'a str, Refusal> {
        self.get(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| missing(&self.full(name)))
    }

    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        self.form.list(&self.full(name))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(text) => Err(value(format!(
                "Invalid value '{text}' for {}: it is true or false",
                self.full(name)
            ))),
        }
    }

    /// A number, an address, or whatever can be parsed.
    pub(super) fn parse<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            value(format!(
                "Value ({text}) for parameter {} is invalid",
                self.full(name)
            ))
        })
    }

    /// One of a few words.
    pub(super) fn word(&self, name: &str, words: &[&str]) -> Result<Option<String>, Refusal> {
        match self.get(name) {
            Some(text) if !words.contains(&text) => Err(value(format!(
                "Value ({text}) for parameter {} is invalid. Valid values: {}",
                self.full(name),
                words.join(", ")
            ))),
            other => Ok(other.map(str::to_owned)),
        }
    }

    /// The structure of that name, if any of it is given.
    pub(super) fn inside(&self, name: &str) -> Option<Scope<'a>> {
        let prefix = format!("{}.", self.full(name));
        let mut after = self.form.parameters.range(prefix.clone()..);
        let form = self.form;
        after
            .next()
            .is_some_and(|(name, _)| name.starts_with(&prefix))
            .then_some(Scope { form, prefix })
    }

    /// The structures `NAME.1`, `NAME.2` and so on.
    pub(super) fn items(&self, name: &str) -> Vec<Scope<'a>> {
        (1..=self.form.parameters.len())
            .map_while(|number| self.inside(&format!("{name}.{number}")))
            .collect()
    }

    /// The name of this structure, for messages.
    pub(super) fn name(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }
}

/// `ClientToken`, checked.
pub(super) fn client_token(form: &Form) -> Result<Option<&str>, Refusal> {
    match form.get("ClientToken") {
        Some(token) if token.len() > 64 || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(value(format!(
                "The client token '{token}' is not valid: 64 ASCII characters at most"
            )))
        }
        other => Ok(other.filter(|token| !token.is_empty())),
    }
}
