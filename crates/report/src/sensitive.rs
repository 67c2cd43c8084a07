//! What of a guest a report may show. Reports are mailed and kept in tickets; passwords and keys
//! have no business there.
//!
//! A file is hidden whole (neither content nor digest: the digest of a short passphrase can be
//! guessed) if its path is one of those that hold secrets, if it holds a private key, or if not
//! everybody in the guest may read it and it is none of the configuration files that distributions
//! protect out of caution. Of what is shown, the rest of every line is taken out behind a word that
//! announces a secret.

use guest::GuestPath;

/// Stands in for what was taken out.
pub(crate) const TAKEN_OUT: &str = "[taken out]";

/// Whether nothing of the file's content may be shown, by its path alone.
pub(crate) fn is_secret_path(path: &GuestPath) -> bool {
    let path = path.to_string_lossy().to_ascii_lowercase();
    // The kept originals have the paths of what they are originals of.
    let path = path
        .strip_prefix("/var/lib/rehost/original")
        .unwrap_or(&path);
    let name = path.rsplit('/').next().unwrap_or_default();
    const DIRS: [&str; 9] = [
        "/etc/cryptsetup-keys.d/",
        "/etc/luks",
        "/etc/ssl/private/",
        "/etc/pki/tls/private/",
        "/etc/wpa_supplicant",
        "/etc/wireguard/",
        "/.ssh/",
        "/.gnupg/",
        "/.aws/",
    ];
    const STARTS: [&str; 7] = [
        "shadow",
        "gshadow",
        "opasswd",
        "ssh_host_",
        ".netrc",
        ".pgpass",
        "id_",
    ];
    const ENDS: [&str; 9] = [
        ".key", ".pem", ".p12", ".pfx", ".jks", ".keytab", ".kdbx", "secrets", ".psk",
    ];
    DIRS.iter().any(|dir| path.contains(dir))
        || STARTS.iter().any(|start| name.starts_with(start))
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether the file is configuration that distributions protect out of caution, and that is shown
/// although not everybody may read it.
pub(crate) fn is_known_configuration(path: &GuestPath) -> bool {
    const DIRS: [&str; 7] = [
        "/boot/",
        "/etc/default/",
        "/etc/grub.d/",
        "/etc/netplan/",
        "/etc/network/",
        "/etc/NetworkManager/",
        "/etc/sysconfig/network",
    ];
    let path = path.to_string_lossy();
    DIRS.iter().any(|dir| path.starts_with(dir))
}

/// Whether text holds a private key.
pub(crate) fn holds_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

/// Takes the rest of every line out that follows a word which announces a secret, and hashes of
/// passwords wherever they stand.
pub(crate) fn take_out(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match secret_at(line) {
            Some(at) => {
                clean.push_str(line.get(..at).unwrap_or_default());
                clean.push_str(TAKEN_OUT);
                if line.ends_with('\n') {
                    clean.push('\n');
                }
            }
            None => clean.push_str(line),
        }
    }
    clean
}

/// Where the secret begins in a line.
fn secret_at(line: &str) -> Option<usize> {
    const WORDS: [&str; 12] = [
        "passphrase",
        "password",
        "passwd",
        "psk",
        "secret",
        "token",
        "private-key",
        "private_key",
        "privatekey",
        "wep-key",
        "api_key",
        "access_key",
    ];
    /// How hashes of passwords begin, see crypt(5).
    const HASHES: [&str; 7] = ["$1$", "$2a$", "$2b$", "$5$", "$6$", "$y$", "grub.pbkdf2."];
    // It has the same length, so places in it are places in the line.
    let lower = line.to_ascii_lowercase();
    let value_of = |word: &&str| {
        let word = lower.find(*word)? + word.len();
        let rest = lower.get(word..)?;
        let is_separator = |letter: char| letter == '=' || letter == ':' || letter.is_whitespace();
        let separator = rest.find(is_separator)?;
        let value = rest.get(separator..)?.trim_start_matches(is_separator);
        (!value.trim().is_empty()).then(|| lower.len() - value.len())
    };
    let values = WORDS.iter().filter_map(value_of);
    let hashes = HASHES.iter().filter_map(|hash| lower.find(hash));
    values.chain(hashes).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_secrets_are_known_by_path() {
        for path in [
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/gshadow",
            "/etc/ssh/ssh_host_ed25519_key",
            "/root/.ssh/authorized_keys",
            "/home/a/.aws/credentials",
            "/etc/ssl/private/a.crt",
            "/srv/server.KEY",
            "/etc/ppp/chap-secrets",
            "/etc/cryptsetup-keys.d/data",
            "/etc/krb5.keytab",
            "/var/lib/rehost/original/etc/shadow",
        ] {
            assert!(is_secret_path(&GuestPath::from(path)), "{path}");
        }
        for path in [
            "/etc/fstab",
            "/etc/crypttab",
            "/boot/grub/grub.cfg",
            "/etc/ssh/sshd_config",
            "/etc/passwd",
        ] {
            assert!(!is_secret_path(&GuestPath::from(path)), "{path}");
        }
    }

    #[test]
    fn secrets_are_taken_out_of_lines() {
        for (line, clean) in [
            (" psk=my pass phrase\n", " psk=[taken out]\n"),
            ("+    password: \"hunter2\"", "+    password: [taken out]"),
            ("wpa-psk  hunter2", "wpa-psk  [taken out]"),
            (
                "password_pbkdf2 root grub.pbkdf2.sha512.1",
                "password_pbkdf2 [taken out]",
            ),
            ("x: $6$salt$hash:19000\n", "x: [taken out]\n"),
            ("Password\r\n", "Password\r\n"),
            ("ünïcode ſecret = a\n", "ünïcode ſecret = a\n"),
            ("ÄÖ SECRET = a\n", "ÄÖ SECRET = [taken out]\n"),
            (
                "UUID=1-2 / ext4 defaults 0 1\n",
                "UUID=1-2 / ext4 defaults 0 1\n",
            ),
        ] {
            assert_eq!(take_out(line), clean);
        }
    }

    #[test]
    fn nothing_behind_a_secret_stays() {
        let clean = take_out("quiet luks.password=a b\" secret=c\nroot=UUID=1\n");
        assert_eq!(clean, "quiet luks.password=[taken out]\nroot=UUID=1\n");
    }
}
