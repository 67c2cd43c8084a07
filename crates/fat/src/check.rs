//! Walking everything: which cluster belongs to what.

use crate::boot_sector::FIRST_CLUSTER;
use crate::directory::{DirStart, Directory, is_dot_dot};
use crate::nodes::MAX_DEPTH;
use crate::table::TableEntry;
use crate::volume::Volume;
use crate::{Corrupt, Error};
use ondisk::width::{usize_of, usize_of_u32};

/// What a walk over the whole tree found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What makes editing unsafe: path and damage.
    pub(crate) damage: Vec<(String, Corrupt)>,
    /// What fsck would say, but does no harm.
    pub(crate) oddities: Vec<String>,
}

/// Walks the whole tree. No cluster is entered twice, so the walk ends whatever it meets.
pub(crate) fn walk(volume: Volume<'_>) -> Result<Report, Error> {
    let words = usize_of_u32(volume.boot.clusters).div_ceil(64);
    let mut walk = Walk {
        volume,
        used: vec![0; words],
        report: Report::default(),
        pending: Vec::new(),
    };
    if let Some(first) = volume.boot.root_cluster {
        walk.claim("/", first, None)?;
    }
    walk.pending.push(Pending {
        path: String::new(),
        start: DirStart::Root,
        parent: 0,
        depth: 0,
    });
    while let Some(dir) = walk.pending.pop() {
        walk.visit(&dir)?;
    }
    walk.look_for_lost()?;
    walk.look_at_counters()?;
    Ok(walk.report)
}

struct Walk<'a> {
    volume: Volume<'a>,
    /// A bit for each cluster.
    used: Vec<u64>,
    report: Report,
    pending: Vec<Pending>,
}

/// A directory whose clusters are claimed.
struct Pending {
    path: String,
    start: DirStart,
    /// First cluster of the directory above; 0 for the root.
    parent: u32,
    depth: usize,
}

impl Walk<'_> {
    fn visit(&mut self, dir: &Pending) -> Result<(), Error> {
        let directory = match self.volume.directory(dir.start) {
            Ok(directory) => directory,
            Err(error) => return self.note(&dir.path, error),
        };
        if let DirStart::Cluster(own) = dir.start {
            self.look_at_dots(dir, &directory, own);
        }
        for entry in directory.entries() {
            let path = format!("{}/{}", dir.path, entry.name);
            if !entry.is_dir {
                self.claim_file(&path, entry.first_cluster, entry.size)?;
                continue;
            }
            let start = match entry.as_dir() {
                Ok(start) => start,
                Err(error) => {
                    self.note(&path, error)?;
                    continue;
                }
            };
            let depth = dir.depth.saturating_add(1);
            if depth > MAX_DEPTH {
                self.note(&path, Corrupt::TooDeep(MAX_DEPTH).into())?;
            } else if self.claim(&path, entry.first_cluster, None)? {
                let parent = match dir.start {
                    DirStart::Root => 0,
                    DirStart::Cluster(cluster) => cluster,
                };
                self.pending.push(Pending {
                    path,
                    start,
                    parent,
                    depth,
                });
            }
        }
        Ok(())
    }

    fn claim_file(&mut self, path: &str, first: u32, size: u32) -> Result<(), Error> {
        // At most 2^32 / 512.
        let needed = self.volume.boot.clusters_for(u64::from(size));
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        if first == 0 && needed > 0 {
            let clusters = 0;
            return self.note(
                path,
                Corrupt::ChainTooShort {
                    first,
                    clusters,
                    needed,
                }
                .into(),
            );
        }
        if first != 0 {
            self.claim(path, first, Some(needed))?;
        }
        Ok(())
    }

    /// Claims the clusters of a chain for one owner and says whether it is sound.
    fn claim(&mut self, path: &str, first: u32, needed: Option<u32>) -> Result<bool, Error> {
        let chain = match self.volume.chain(first, self.volume.boot.longest_chain()) {
            Ok(chain) => chain,
            Err(error) => return self.note(path, error).map(|()| false),
        };
        for cluster in &chain {
            if self.is_used(*cluster) {
                let twice = Corrupt::UsedTwice {
                    cluster: *cluster,
                    first,
                };
                return self.note(path, twice.into()).map(|()| false);
            }
            self.set_used(*cluster);
        }
        let clusters = u32::try_from(chain.len()).unwrap_or(u32::MAX);
        let Some(needed) = needed else {
            return Ok(true);
        };
        if clusters < needed {
            let short = Corrupt::ChainTooShort {
                first,
                clusters,
                needed,
            };
            return self.note(path, short.into()).map(|()| false);
        }
        if clusters > needed {
            self.report.oddities.push(format!(
                "{path}: {clusters} clusters for a size that needs {needed}"
            ));
        }
        Ok(true)
    }

    fn look_at_dots(&mut self, dir: &Pending, directory: &Directory, own: u32) {
        let cluster_of = |index: usize, name: &dyn Fn(&[u8]) -> bool| {
            let slot = directory.slot(index).filter(|slot| name(slot))?;
            match slot {
                [.., c, d, _, _, _, _, a, b, _, _, _, _] => {
                    Some(u32::from_le_bytes([*a, *b, *c, *d]))
                }
                _ => None,
            }
        };
        let dot = |slot: &[u8]| slot.starts_with(b".          ");
        if cluster_of(0, &dot) != Some(own) {
            self.report
                .oddities
                .push(format!("{}: no right \".\"", dir.path));
        }
        if cluster_of(1, &is_dot_dot) != Some(dir.parent) {
            self.report
                .oddities
                .push(format!("{}: no right \"..\"", dir.path));
        }
    }

    fn look_for_lost(&mut self) -> Result<(), Error> {
        let mut lost = 0_u32;
        let used = &self.used;
        self.volume.each_entry(|cluster, entry| {
            let taken = !matches!(entry, TableEntry::Free | TableEntry::Bad);
            if taken && !is_set(used, cluster) {
                lost = lost.saturating_add(1);
            }
        })?;
        if lost > 0 {
            let lost = format!("{lost} clusters are taken but belong to nothing");
            self.report.oddities.push(lost);
        }
        Ok(())
    }

    fn look_at_counters(&mut self) -> Result<(), Error> {
        if let Some(at) = self.volume.first_difference()? {
            let differ = format!("the copies of the table differ at byte {at}");
            self.report.oddities.push(differ);
        }
        let Some(counted) = self.volume.counted_free()? else {
            return Ok(());
        };
        let (free, _) = self.volume.free_clusters()?;
        if counted != free {
            let wrong = format!("FSInfo counts {counted} free clusters, the table has {free}");
            self.report.oddities.push(wrong);
        }
        Ok(())
    }

    /// Notes damage; only the device's own errors end the walk.
    fn note(&mut self, path: &str, error: Error) -> Result<(), Error> {
        match error {
            Error::Corrupt(corrupt) if self.report.damage.len() < MAX_DAMAGE => {
                self.report.damage.push((path.to_owned(), corrupt));
                Ok(())
            }
            Error::Corrupt(_) => Ok(()),
            error => Err(error),
        }
    }

    fn is_used(&self, cluster: u32) -> bool {
        is_set(&self.used, cluster)
    }

    fn set_used(&mut self, cluster: u32) {
        let index = cluster.saturating_sub(FIRST_CLUSTER);
        if let Some(word) = self.used.get_mut(usize_of(u64::from(index / 64))) {
            *word |= 1 << (index % 64);
        }
    }
}

fn is_set(bits: &[u64], cluster: u32) -> bool {
    let index = cluster.saturating_sub(FIRST_CLUSTER);
    bits.get(usize_of(u64::from(index / 64)))
        .is_some_and(|word| word & 1 << (index % 64) != 0)
}

/// One is enough to refuse; the rest is for the reader.
const MAX_DAMAGE: usize = 100;
