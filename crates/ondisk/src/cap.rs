//! Numbers from disk are hostile until they passed a cap.

use crate::width::usize_of;
use thiserror::Error;

/// A number from disk is larger than anything a sound file has.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{what} is {value}, at most {cap} is accepted")]
pub struct TooLarge {
    /// The field, by its name in the format's specification.
    pub what: &'static str,
    /// What the disk said.
    pub value: u64,
    /// The largest accepted value.
    pub cap: u64,
}

/// Lets `value` through as a length if it is at most `cap`.
///
/// Call it before a number from disk allocates or bounds a loop.
///
/// # Errors
/// [`TooLarge`] if it is larger.
pub fn length(what: &'static str, value: u64, cap: u64) -> Result<usize, TooLarge> {
    if value <= cap {
        Ok(usize_of(value))
    } else {
        Err(TooLarge { what, value, cap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_itself_passes() {
        assert_eq!(length("entries", 8, 8), Ok(8));
        assert_eq!(
            length("entries", 9, 8).unwrap_err().to_string(),
            "entries is 9, at most 8 is accepted"
        );
    }
}
