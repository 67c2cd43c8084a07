//! Pages of a list.

use super::form::Form;
use super::refusal::value;
use crate::error::Refusal;
use crate::snapshot::Snapshot;
use crate::world::World;
use hyper::StatusCode;
use std::sync::Arc;

/// Cuts the page that MaxResults and NextToken ask for.
pub(super) fn page(
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
