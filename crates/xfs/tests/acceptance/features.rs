//! The feature sets that images are made with.

/// A feature set, as arguments of `mkfs.xfs` from xfsprogs 6.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeatureSet {
    pub(crate) name: &'static str,
    pub(crate) mkfs: &'static [&'static str],
    /// Whether the kernel mounts it. What it does not is filled by `mkfs` and `xfs_db`.
    pub(crate) mounts: bool,
    /// Whether lamxfs 0.1 reads what the kernel does not: it takes blocks of directories for
    /// contiguous, and knows case.
    pub(crate) lamxfs: bool,
    /// Whether every test run covers it with scripts of edits; the others only with `REHOST_LONG`.
    pub(crate) always: bool,
}

/// Every feature set that is found on machines, and some that are hard to get right.
pub(crate) const ALL: &[FeatureSet] = &[
    set("default", &[]).always(),
    set("rhel8", &["-m", "bigtime=0,inobtcount=0"]),
    set(
        "rhel7",
        &[
            "-m",
            "finobt=0,reflink=0,bigtime=0,inobtcount=0",
            "-i",
            "sparse=0",
        ],
    )
    .always(),
    set(
        "finobt",
        &["-m", "reflink=0,bigtime=0,inobtcount=0", "-i", "sparse=0"],
    ),
    set("rmapbt", &["-m", "rmapbt=1", "-i", "nrext64=1"]).always(),
    set("1k", &["-b", "size=1024"]).always(),
    set("1k_rmapbt", &["-b", "size=1024", "-m", "rmapbt=1"]),
    set("2k", &["-b", "size=2048", "-i", "size=1024"]),
    set("inode_1k", &["-i", "size=1024"]),
    set("inode_2k", &["-i", "size=2048"]),
    set("dir_8k", &["-n", "size=8192"]),
    set("dir_64k", &["-n", "size=65536"]),
    set("1k_dir_8k", &["-b", "size=1024", "-n", "size=8192"]).always(),
    set("sectors_4k", &["-s", "size=4096"]),
    set("stripes", &["-d", "su=64k,sw=2"]),
    set("one_group", &["-d", "agcount=1"]),
    set("v4", &["-m", "crc=0"]).unmountable().always(),
    set(
        "v4_256",
        &["-m", "crc=0", "-i", "size=256", "-n", "ftype=0"],
    )
    .unmountable(),
    set(
        "v4_1k",
        &["-m", "crc=0", "-b", "size=1024", "-i", "size=256"],
    )
    .unmountable()
    .without_lamxfs(),
    set(
        "v4_attr1",
        &[
            "-m",
            "crc=0,finobt=0",
            "-i",
            "attr=1,projid32bit=0,size=256",
            "-l",
            "lazy-count=0",
        ],
    )
    .unmountable(),
    set("ascii_ci", &["-n", "version=ci"])
        .unmountable()
        .without_lamxfs(),
];

const fn set(name: &'static str, mkfs: &'static [&'static str]) -> FeatureSet {
    FeatureSet {
        name,
        mkfs,
        mounts: true,
        lamxfs: true,
        always: false,
    }
}

impl FeatureSet {
    /// Linux 6.18 as it is usually built knows neither version 4 nor names without case.
    const fn unmountable(self) -> Self {
        Self {
            mounts: false,
            ..self
        }
    }

    const fn without_lamxfs(self) -> Self {
        Self {
            lamxfs: false,
            ..self
        }
    }

    const fn always(self) -> Self {
        Self {
            always: true,
            ..self
        }
    }

    /// Whether names are the same in either case.
    pub(crate) fn ignores_case(&self) -> bool {
        self.name == "ascii_ci"
    }
}

/// The feature sets that a test run covers: those of every run, with `REHOST_LONG` all of them, and
/// with `REHOST_SETS`, names between commas, only these.
pub(crate) fn covered() -> impl Iterator<Item = &'static FeatureSet> {
    let named = std::env::var("REHOST_SETS").ok();
    ALL.iter().filter(move |set| match &named {
        Some(named) => named.split(',').any(|name| name == set.name),
        None => set.always || fs_acceptance::long(),
    })
}

/// Finds a feature set.
pub(crate) fn named(name: &str) -> FeatureSet {
    *ALL.iter()
        .find(|set| set.name == name)
        .expect("a known name")
}
