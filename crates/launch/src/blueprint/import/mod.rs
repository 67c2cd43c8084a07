//! Blueprints of CloudEndure and launch configurations of AWS MGN, made into ours.
//!
//! Fields are taken out of the document one by one; what is left over at the end has no
//! counterpart and becomes a [`Note`], so nothing is lost unseen.

mod cloudendure;
mod fields;
mod mgn;
mod template;

pub use fields::Note;

use super::Blueprint;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The longest document that is read, in bytes.
const MAX_SIZE: usize = 16 << 20;
/// The most blueprints in one document.
const MAX_ITEMS: usize = 10_000;

/// A blueprint that was made of another tool's.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The blueprint.
    pub blueprint: Blueprint,
    /// What it came from, in words.
    pub from: &'static str,
    /// What is not in it.
    pub notes: Vec<Note>,
}

/// Why a document was not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is too large to be one.
    #[error("this is larger than 16 MiB; give one blueprint or one list of them")]
    TooLarge,
    /// It is not JSON.
    #[error("this is not JSON")]
    Json(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error(
        "this is neither a blueprint of CloudEndure (or a list in `items`) nor a launch \
         configuration of MGN; give what `GET /projects/…/blueprints` or \
         `aws mgn get-launch-configuration` answered"
    )]
    Unknown,
    /// A template came with something that has none.
    #[error(
        "only launch configurations of MGN have an EC2 launch template; leave the template out"
    )]
    Template,
    /// The launch template is something else.
    #[error(
        "this is no launch template of EC2; give what `aws ec2 describe-launch-template-versions` \
         answered, or its LaunchTemplateData alone"
    )]
    NoTemplate,
}

/// Reads a document of CloudEndure or MGN; of the latter with its EC2 launch template, if there is.
///
/// # Errors
///
/// See [`Error`].
pub fn import(document: &[u8], template: Option<&[u8]>) -> Result<Vec<Imported>, Error> {
    let document = object(document)?;
    let template = template.map(object).transpose()?;
    let is_mgn = ["sourceServerID", "ec2LaunchTemplateID", "launchDisposition"]
        .iter()
        .any(|field| document.contains_key(*field));
    if is_mgn {
        let template = template.map(template::data).transpose()?;
        return Ok(vec![mgn::import(document, template)]);
    }
    if template.is_some() {
        return Err(Error::Template);
    }
    let items = match document.get("items") {
        Some(Value::Array(items)) if items.len() <= MAX_ITEMS => items.clone(),
        Some(_) => return Err(Error::Unknown),
        None => vec![Value::Object(document)],
    };
    items
        .into_iter()
        .enumerate()
        .map(|(at, item)| match item {
            Value::Object(item) if cloudendure::is_one(&item) => Ok(cloudendure::import(item, at)),
            _ => Err(Error::Unknown),
        })
        .collect()
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    if bytes.len() > MAX_SIZE {
        return Err(Error::TooLarge);
    }
    match serde_json::from_slice(bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::Unknown),
    }
}

impl Imported {
    /// The blueprint as YAML, with what is not in it in comments above.
    ///
    /// # Errors
    ///
    /// As [`Blueprint::to_yaml`].
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut text = format!("# Made from {}.\n", self.from);
        if !self.notes.is_empty() {
            text.push_str("# What is not in here:\n");
        }
        for note in &self.notes {
            let _ = writeln!(text, "#   {note}");
        }
        text.push_str(&self.blueprint.to_yaml()?);
        Ok(text)
    }
}

/// A name that a machine may have, made of any text; empty if nothing is left of it.
pub fn machine_name(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let letters = text
        .chars()
        .map(|letter| if plain(letter) { letter } else { '-' });
    let name: String = letters.take(64).collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
