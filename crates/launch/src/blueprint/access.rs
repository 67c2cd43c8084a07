//! What the target may do in AWS, and what it is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the target may do in AWS
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Iam {
    /// The instance profile, by its name or its ARN
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), example = "web-server")]
    pub instance_profile: Option<String>,
}

/// The instance metadata service
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataOptions {
    /// Whether IMDSv2 is wanted; without it as the image or the account says
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_tokens: Option<HttpTokens>,
    /// How many hops an answer may go; 2 for containers
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64), example = 2)]
    pub hop_limit: Option<u8>,
    /// Whether the instance can read its own tags
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_tags: Option<bool>,
}

/// Whether IMDSv2 is wanted
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpTokens {
    /// IMDSv1 answers as well
    Optional,
    /// IMDSv2 alone
    Required,
}
