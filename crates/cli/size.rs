//! Numbers of bytes as people write them.

/// A number of bytes in the unit that people would choose.
pub(crate) fn text(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Reads `65536`, `64K` or `2M`; units are powers of 1024.
pub(crate) fn parse_u32(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1_u32),
    };
    let number = digits.parse::<u32>().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "a size is a number of bytes such as 65536, 64K or 2M".to_owned())
}

/// Reads `512M` or `4G` as MiB.
pub(crate) fn parse_mib(text: &str) -> Result<u32, String> {
    let number = match text.char_indices().next_back() {
        Some((at, 'm' | 'M')) => text[..at].parse::<u32>().ok(),
        Some((at, 'g' | 'G')) => text[..at]
            .parse::<u32>()
            .ok()
            .and_then(|n| n.checked_mul(1024)),
        _ => None,
    };
    number.ok_or_else(|| "a size is a number with its unit: 512M or 4G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(text(0), "0.0 B");
        assert_eq!(text(1536), "1.5 KiB");
        assert_eq!(text(3 << 30), "3.0 GiB");
        assert_eq!(text(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn memory_is_understood_as_people_write_it() {
        for (text, mib) in [("512M", 512), ("4G", 4096), ("2g", 2048)] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for bad in ["", "G", "2048", "4GB", "-1M", "1.5G", "4194304G", "4ä"] {
            assert!(parse_mib(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_understood_as_people_write_them() {
        for (text, size) in [
            ("65536", 65536),
            ("64K", 65536),
            ("64k", 65536),
            ("2M", 2 << 20),
        ] {
            assert_eq!(parse_u32(text), Ok(size), "{text}");
        }
        for bad in ["", "K", "64KB", "-1", "1.5M", "4G", "99999999999", "ä"] {
            assert!(parse_u32(bad).is_err(), "{bad}");
        }
    }
}
