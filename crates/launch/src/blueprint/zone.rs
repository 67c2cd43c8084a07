//! Availability zones.

/// The region of a zone, by its name: up to its first number, for the names of local zones go on
/// after it (`us-west-2-lax-1a`).
pub(super) fn region_of(zone: &str) -> &str {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let start = zone.find(is_digit).unwrap_or(zone.len());
    let after = zone[start..].trim_start_matches(is_digit);
    zone.strip_suffix(after).unwrap_or(zone)
}

#[cfg(test)]
mod tests {
    use super::region_of;

    #[test]
    fn a_zone_tells_its_region() {
        for (zone, region) in [
            ("eu-west-1a", "eu-west-1"),
            ("us-west-2-lax-1a", "us-west-2"),
            ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
            ("nowhere", "nowhere"),
            ("", ""),
        ] {
            assert_eq!(region_of(zone), region);
        }
    }
}
