//! Which format is written: arguments and the output's name become a [`WriteFormat`].

use crate::args::{Codec, FormatArgs, Subformat, ToFormat};
use anyhow::{Result, bail};
use image::{Compression, Qcow2Options, VhdOptions, VhdSubformat, VhdxOptions, WriteFormat};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// A format with its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    pub(crate) format: WriteFormat,
    kind: ToFormat,
}

impl Chosen {
    /// The name of the format, which is the ending of its files too.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }
}

impl ToFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }

    fn of_ending(ending: &str) -> Option<Self> {
        Some(match ending {
            "raw" | "img" => Self::Raw,
            "qcow2" => Self::Qcow2,
            "vmdk" => Self::Vmdk,
            "vhd" => Self::Vhd,
            "vhdx" => Self::Vhdx,
            _ => return None,
        })
    }
}

/// Chooses the format of the file `path`, or of files that are still to be named.
pub(crate) fn choose(args: &FormatArgs, path: Option<&Path>) -> Result<Chosen> {
    let kind = match (args.to_format, path.and_then(ending)) {
        (Some(kind), _) => kind,
        (None, None) => implied(args),
        (None, Some(ending)) => match ToFormat::of_ending(&ending) {
            Some(kind) => kind,
            None => bail!(
                "which format has a file that ends in .{ending}? Say it with --to-format, or let \
                 the name end in .raw, .img, .qcow2, .vmdk, .vhd or .vhdx"
            ),
        },
    };
    for (given, option, needed) in options(args) {
        if given && needed != kind {
            bail!(
                "{option} needs a {} file, this is to be {}",
                needed.name(),
                kind.name()
            );
        }
    }
    let format = match kind {
        ToFormat::Raw => WriteFormat::Raw,
        ToFormat::Qcow2 => qcow2(args),
        ToFormat::Vmdk => WriteFormat::Vmdk,
        ToFormat::Vhd => vhd(args.subformat),
        ToFormat::Vhdx => WriteFormat::Vhdx(VhdxOptions {
            block_size: args.block_size,
        }),
    };
    Ok(Chosen { format, kind })
}

/// The options that only one format has, and whether they are given.
fn options(args: &FormatArgs) -> [(bool, &'static str, ToFormat); 4] {
    [
        (args.compress.is_some(), "--compress", ToFormat::Qcow2),
        (
            args.cluster_size.is_some(),
            "--cluster-size",
            ToFormat::Qcow2,
        ),
        (args.subformat.is_some(), "--subformat", ToFormat::Vhd),
        (args.block_size.is_some(), "--block-size", ToFormat::Vhdx),
    ]
}

/// Without a name that tells, an option of one format does.
fn implied(args: &FormatArgs) -> ToFormat {
    options(args)
        .into_iter()
        .find_map(|(given, _, needed)| given.then_some(needed))
        .unwrap_or(ToFormat::Raw)
}

/// What the name of a file ends in, in lower case. Names of block devices say nothing.
fn ending(path: &Path) -> Option<String> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device()) {
        return None;
    }
    let ending = path.extension()?.to_string_lossy();
    Some(ending.to_ascii_lowercase())
}

fn qcow2(args: &FormatArgs) -> WriteFormat {
    let default = Qcow2Options::default();
    WriteFormat::Qcow2(Qcow2Options {
        cluster_size: args.cluster_size.unwrap_or(default.cluster_size),
        compression: match args.compress {
            None => Compression::None,
            Some(Codec::Zlib) => Compression::Zlib,
            Some(Codec::Zstd) => Compression::Zstd,
        },
    })
}

fn vhd(subformat: Option<Subformat>) -> WriteFormat {
    WriteFormat::Vhd(VhdOptions {
        subformat: match subformat {
            Some(Subformat::Fixed) => VhdSubformat::Fixed,
            Some(Subformat::Dynamic) | None => VhdSubformat::Dynamic,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &FormatArgs, path: Option<&str>) -> Result<WriteFormat> {
        choose(args, path.map(Path::new)).map(|chosen| chosen.format)
    }

    #[test]
    fn the_format_is_said_or_the_names_or_raw() {
        let silent = FormatArgs::default();
        let qcow2 = WriteFormat::Qcow2(Qcow2Options::default());
        for (path, format) in [
            (None, WriteFormat::Raw),
            (Some("web1"), WriteFormat::Raw),
            (Some("dir.x/web1"), WriteFormat::Raw),
            (Some("web1.raw"), WriteFormat::Raw),
            (Some("web1.IMG"), WriteFormat::Raw),
            (Some("web1.qcow2"), qcow2),
        ] {
            assert_eq!(chosen(&silent, path).unwrap(), format, "{path:?}");
        }
        let said = chosen(&silent, Some("web1.example")).unwrap_err();
        assert!(said.to_string().contains("--to-format"), "{said}");
        let raw = FormatArgs {
            to_format: Some(ToFormat::Raw),
            ..silent
        };
        for path in ["web1.example", "web1.qcow2"] {
            assert_eq!(chosen(&raw, Some(path)).unwrap(), WriteFormat::Raw);
        }
    }

    #[test]
    fn options_reach_their_format_and_no_other() {
        let args = FormatArgs {
            compress: Some(Codec::Zstd),
            cluster_size: Some(4096),
            ..FormatArgs::default()
        };
        let wanted = WriteFormat::Qcow2(Qcow2Options {
            compression: Compression::Zstd,
            cluster_size: 4096,
        });
        for path in [Some("a.qcow2"), Some("a"), None] {
            assert_eq!(chosen(&args, path).unwrap(), wanted, "{path:?}");
        }
        let said = chosen(&args, Some("a.raw")).unwrap_err();
        assert!(said.to_string().contains("--compress needs"), "{said}");
        let args = FormatArgs {
            subformat: Some(Subformat::Fixed),
            ..FormatArgs::default()
        };
        let said = chosen(&args, Some("a.vhdx")).unwrap_err();
        assert!(said.to_string().contains("--subformat needs"), "{said}");
    }
}
