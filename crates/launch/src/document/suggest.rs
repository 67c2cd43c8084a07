//! "Did you mean …?"

use strsim::damerau_levenshtein;

/// The longest word that is compared, in bytes: names of fields and values are shorter.
const MAX_WORD: usize = 64;

/// The candidate that was probably meant by `word`, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > MAX_WORD {
        return None;
    }
    let plain = plain(word);
    // A third of the letters, and at least one, may be wrong.
    let allowed = (plain.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = damerau_levenshtein(&plain, &self::plain(candidate));
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Without what differs between ways of writing a name: `size_gib`, `SizeGiB`.
fn plain(word: &str) -> String {
    let letters = word.chars().filter(|letter| !matches!(letter, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let fields = ["sizeGiB", "iops", "deviceName"];
        assert_eq!(nearest("size_gib", fields), Some("sizeGiB"));
        assert_eq!(nearest("ipos", fields), Some("iops"));
        assert_eq!(nearest("devicename", fields), Some("deviceName"));
        assert_eq!(nearest("flavour", fields), None);
        assert_eq!(nearest("", fields), None);
        assert_eq!(nearest(&"iops".repeat(100), fields), None);
    }
}
