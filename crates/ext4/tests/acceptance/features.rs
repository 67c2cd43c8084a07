//! The feature sets that images are made with.

/// A feature set, as arguments of `mkfs.ext4` from e2fsprogs 1.47.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeatureSet {
    pub(crate) name: &'static str,
    pub(crate) mkfs: &'static [&'static str],
    /// What ext4-view can read of it.
    pub(crate) view: View,
    /// Whether small files lie in their inodes.
    pub(crate) inline_data: bool,
    /// Whether a log exists that can be dirty.
    pub(crate) journal: bool,
    /// Whether every test run covers it with long workloads; the others only with `REHOST_LONG`.
    pub(crate) always: bool,
}

/// What ext4-view 1.0 reads right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum View {
    All,
    /// In maps of blocks it takes holes for block 0.
    WithoutHoles,
    /// It knows neither inline data nor checksums in inodes of 128 bytes.
    Nothing,
}

/// Every feature set that is found on machines, and some that are hard to get right.
pub(crate) const ALL: &[FeatureSet] = &[
    set("default", &["-t", "ext4"]).always(),
    set("1k", &["-t", "ext4", "-b", "1024"]).always(),
    set("2k", &["-t", "ext4", "-b", "2048"]),
    set("inline_data", &["-t", "ext4", "-O", "inline_data"])
        .inline_data()
        .always(),
    set(
        "orphan_file",
        &["-t", "ext4", "-O", "orphan_file,metadata_csum_seed"],
    )
    .always(),
    set("fast_commit", &["-t", "ext4", "-O", "fast_commit"]),
    set(
        "rhel6",
        &[
            "-t",
            "ext4",
            "-O",
            "uninit_bg,^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file",
        ],
    )
    .always(),
    set("inode_128", &["-t", "ext4", "-I", "128"]).seen_as(View::Nothing),
    set("narrow", &["-t", "ext4", "-O", "^64bit"]),
    set("no_flex_bg", &["-t", "ext4", "-O", "^flex_bg"]),
    set("no_extents", &["-t", "ext4", "-O", "^extents,^64bit"]).seen_as(View::WithoutHoles),
    set("no_journal", &["-t", "ext4", "-O", "^has_journal"]).without_journal(),
    set(
        "meta_bg",
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    )
    .seen_as(View::Nothing),
    set("ext3", &["-t", "ext3"])
        .seen_as(View::WithoutHoles)
        .always(),
    set("ext3_1k", &["-t", "ext3", "-b", "1024"]).seen_as(View::WithoutHoles),
    set("ext2", &["-t", "ext2"])
        .seen_as(View::WithoutHoles)
        .without_journal(),
    set("ext2_1k", &["-t", "ext2", "-b", "1024", "-O", "^dir_index"])
        .seen_as(View::WithoutHoles)
        .without_journal()
        .always(),
];

const fn set(name: &'static str, mkfs: &'static [&'static str]) -> FeatureSet {
    FeatureSet {
        name,
        mkfs,
        view: View::All,
        inline_data: false,
        journal: true,
        always: false,
    }
}

impl FeatureSet {
    const fn seen_as(self, view: View) -> Self {
        Self { view, ..self }
    }

    const fn inline_data(self) -> Self {
        Self {
            inline_data: true,
            ..self.seen_as(View::Nothing)
        }
    }

    const fn without_journal(self) -> Self {
        Self {
            journal: false,
            ..self
        }
    }

    const fn always(self) -> Self {
        Self {
            always: true,
            ..self
        }
    }
}

/// Finds a feature set.
pub(crate) fn named(name: &str) -> FeatureSet {
    *ALL.iter()
        .find(|set| set.name == name)
        .expect("a known name")
}
