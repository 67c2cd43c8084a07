//! Pages of a list.

use super::form::Form;
use super::refusal::{combination, value};
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;

/// The most that a page holds.
const MOST: usize = 1000;

/// A page, and the token of the next.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    next: Option<String>,
}

impl<T> Page<T> {
    /// Reads MaxResults, from `least`, and NextToken, and cuts their page out of what was found.
    /// MaxResults is refused beside ids, `named`.
    pub(super) fn cut(
        world: &World,
        form: &Form,
        named: bool,
        least: usize,
        found: Vec<T>,
    ) -> Result<Page<T>, Refusal> {
        let about = format!("page of {}", form.name);
        let skip = match form.get("NextToken") {
            None | Some("") => 0,
            Some(token) => world
                .tokens
                .read::<1>(&about, token)
                .and_then(|[skip]| usize::try_from(skip).ok())
                .ok_or_else(|| value("the NextToken is not valid"))?,
        };
        let most = match form.get("MaxResults") {
            None => found.len(),
            Some(_) if named => {
                return Err(combination(
                    "A list of ids cannot be used with the parameter MaxResults",
                ));
            }
            // Values above are allowed, and mean the most.
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|most| *most >= least)
                .ok_or_else(|| value(format!("MaxResults must be {least} to {MOST}, not {text}")))?
                .min(MOST),
        };
        let total = found.len();
        let items: Vec<T> = found.into_iter().skip(skip).take(most).collect();
        let after = skip.saturating_add(items.len());
        let next = u64::try_from(after)
            .ok()
            .filter(|_| after < total && !items.is_empty())
            .map(|after| world.tokens.make(&about, &[after]));
        Ok(Page { items, next })
    }

    /// The page as an answer.
    pub(super) fn answer(self, list: &str, fill: impl FnMut(&mut Xml, T)) -> Xml {
        let mut xml = Xml::default();
        xml.list(list, self.items, fill);
        xml.maybe("nextToken", self.next);
        xml
    }
}
