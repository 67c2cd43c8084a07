//! GRUB's map of firmware disks to device names, `device.map`.

/// The `(disk)` and device pairs of a map, in order; lines that are neither are left out.
///
/// # Examples
/// ```
/// let map = guest::boot::device_map(b"# hd\n(hd0)\t/dev/sda\n");
/// assert_eq!(map, [("(hd0)".to_owned(), "/dev/sda".to_owned())]);
/// ```
pub fn device_map(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let pair = |line: &str| {
        let (disk, device) = line.trim().split_once([' ', '\t'])?;
        disk.starts_with('(')
            .then(|| (disk.to_owned(), device.trim().to_owned()))
    };
    text.lines().filter_map(pair).collect()
}
