//! A login on the serial console, where systemd does not start one by itself.
//!
//! systemd starts `serial-getty@ttyS0` for `console=ttyS0`; inittab and upstart have to be told.
//! The consoles of Xen's paravirtual guests are not there any more, and a getty on them respawns
//! for ever (linux-guests.md, item 48).

use crate::{Draft, Error, Rule};
use guest::GuestPath;

/// Starts a getty on the serial port.
pub(super) const RULE: Rule = Rule {
    id: "getty-serial",
    summary: "start a login on the serial console in guests without systemd",
    applies: |_, _| true,
    run,
};

const WHY: &str = "the serial port is the only console that EC2 has";
const INITTAB: &str = "/etc/inittab";
const JOB: &str = "/etc/init/ttyS0.conf";
/// Its event is made for a serial port that is `/dev/console`, and the port gets into securetty.
const ON_CONSOLE: &str = "/etc/init/serial.conf";

/// Who runs the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Init {
    Systemd,
    Busybox,
    Upstart,
    Sysv,
}

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    match init(draft)? {
        Init::Systemd => return Ok(()),
        Init::Upstart => {
            // RHEL 6 and Amazon Linux start a getty on whatever is the console.
            if !draft.exists(&JOB.into())? && !draft.exists(&ON_CONSOLE.into())? {
                let getty = getty(draft)?;
                draft.write(&JOB.into(), job(getty), WHY)?;
            }
        }
        kind @ (Init::Busybox | Init::Sysv) => {
            let path = GuestPath::from(INITTAB);
            let getty = getty(draft)?;
            if let Some(text) = draft.read_text(&path)? {
                let new = with_serial(&text, kind == Init::Busybox, getty);
                if new != text {
                    draft.write(&path, new, WHY)?;
                }
            }
        }
    }
    let path = GuestPath::from("/etc/securetty");
    if let Some(mut text) = draft.read_text(&path)?
        && !text.lines().any(|line| line.trim() == "ttyS0")
    {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("ttyS0\n");
        draft.write(&path, text, "root may log in on the serial console")?;
    }
    Ok(())
}

fn init(draft: &Draft<'_>) -> Result<Init, Error> {
    let program = draft.guest().canonical(&"/sbin/init".into(), true)?;
    let name = String::from_utf8_lossy(program.name().unwrap_or_default()).into_owned();
    let upstart = draft.exists(&"/etc/init/rc.conf".into())?
        || draft.exists(&"/etc/init/rc-sysinit.conf".into())?;
    Ok(match name.as_str() {
        "systemd" => Init::Systemd,
        "busybox" => Init::Busybox,
        _ if upstart => Init::Upstart,
        _ => Init::Sysv,
    })
}

/// The program that opens a terminal, with the arguments before the terminal's name.
fn getty(draft: &Draft<'_>) -> Result<&'static str, Error> {
    let simple = draft.exists(&"/sbin/getty".into())?;
    Ok(if simple {
        "/sbin/getty -L"
    } else {
        "/sbin/agetty -L"
    })
}

fn job(getty: &str) -> String {
    format!(
        "# Written by rehost: {WHY}.\nstart on stopped rc RUNLEVEL=[2345]\n\
         stop on runlevel [!2345]\n\nrespawn\nexec {getty} ttyS0 115200 vt100\n"
    )
}

/// An inittab with a getty on the serial port and none on Xen's consoles.
fn with_serial(text: &str, busybox: bool, getty: &str) -> String {
    let mut new = String::with_capacity(text.len());
    let mut there = false;
    for line in text.split_inclusive('\n') {
        let active = !line.trim_start().starts_with('#');
        there |= active && line.contains("ttyS0");
        let xen = line.contains("hvc0") || line.contains("xvc0");
        if active && xen && line.contains("respawn") {
            new.push_str("# rehost: ");
        }
        new.push_str(line);
    }
    if !there {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        let id = if busybox { "ttyS0::" } else { "S0:2345:" };
        new.push_str(&format!("{id}respawn:{getty} ttyS0 115200 vt100\n"));
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn inittab_gets_a_serial_line() {
        let guest = TestGuest::of(&[
            ("/sbin/init", "x"),
            ("/sbin/getty", "x"),
            (
                "/etc/inittab",
                "1:2345:respawn:/sbin/getty 38400 tty1\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\nh0:2345:respawn:/sbin/getty hvc0\n",
            ),
            ("/etc/securetty", "tty1"),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/inittab"),
            "1:2345:respawn:/sbin/getty 38400 tty1\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n\
             # rehost: h0:2345:respawn:/sbin/getty hvc0\nS0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100\n"
        );
        assert_eq!(after.text("/etc/securetty"), "tty1\nttyS0\n");
    }

    #[test]
    fn upstart_gets_a_job() {
        let guest = TestGuest::of(&[("/sbin/init", "x"), ("/etc/init/rc.conf", "x")]);
        let after = guest.run(&[RULE]);
        assert!(
            after
                .text(JOB)
                .ends_with("exec /sbin/agetty -L ttyS0 115200 vt100\n")
        );
    }

    #[test]
    fn rhel_6_does_it_alone() {
        let guest = TestGuest::of(&[
            ("/sbin/init", "x"),
            ("/etc/init/rc.conf", "x"),
            (
                ON_CONSOLE,
                "start on fedora.serial-console-available DEV=* and stopped rc RUNLEVEL=[2345]\n\
                 stop on runlevel [S016]\n\ninstance $DEV\nrespawn\npre-start exec /sbin/securetty $DEV\n\
                 exec /sbin/agetty /dev/$DEV $SPEED vt100-nav\n",
            ),
            ("/etc/securetty", "console\ntty1\n"),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.changed, ["/etc/securetty"]);
    }

    #[test]
    fn rhel_5_gets_a_line_in_inittab() {
        let inittab = "id:3:initdefault:\n\nsi::sysinit:/etc/rc.d/rc.sysinit\n\n\
            1:2345:respawn:/sbin/mingetty tty1\nco:2345:respawn:/sbin/agetty xvc0 9600 vt100-nav\n";
        let guest = TestGuest::of(&[
            ("/sbin/init", "x"),
            ("/sbin/agetty", "x"),
            ("/etc/inittab", inittab),
        ]);
        let after = guest.run(&[RULE]);
        let expected = inittab.replace("co:", "# rehost: co:")
            + "S0:2345:respawn:/sbin/agetty -L ttyS0 115200 vt100\n";
        assert_eq!(after.text("/etc/inittab"), expected);
    }

    #[test]
    fn systemd_does_it_alone() {
        let guest = TestGuest::of(&[
            ("/sbin/init", "-> /lib/systemd/systemd"),
            ("/lib/systemd/systemd", "x"),
            ("/etc/inittab", "\n"),
        ]);
        assert!(guest.run(&[RULE]).changed.is_empty());
    }
}
