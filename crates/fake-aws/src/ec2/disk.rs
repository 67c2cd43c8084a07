//! The types of EBS volumes, and what each allows (EC2's API model and EBS guide, 2026).

use super::refusal::{bad, combination, missing, value};
use crate::error::Refusal;
use serde::Serialize;
use std::ops::RangeInclusive;

/// A type of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are Amazon's")]
pub enum VolumeType {
    Gp2,
    Gp3,
    Io1,
    Io2,
    St1,
    Sc1,
    Standard,
}

/// IOPS and throughput of gp3 that are there without asking.
const GP3_IOPS: u32 = 3000;
const GP3_THROUGHPUT: u32 = 125;

impl VolumeType {
    const ALL: [VolumeType; 7] = [
        VolumeType::Gp2,
        VolumeType::Gp3,
        VolumeType::Io1,
        VolumeType::Io2,
        VolumeType::St1,
        VolumeType::Sc1,
        VolumeType::Standard,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            VolumeType::Gp2 => "gp2",
            VolumeType::Gp3 => "gp3",
            VolumeType::Io1 => "io1",
            VolumeType::Io2 => "io2",
            VolumeType::St1 => "st1",
            VolumeType::Sc1 => "sc1",
            VolumeType::Standard => "standard",
        }
    }

    pub(super) fn parse(name: &str) -> Result<VolumeType, Refusal> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| {
            value(format!(
                "Value ({name}) for parameter volumeType is invalid"
            ))
        })
    }

    /// Whether an instance can boot from it.
    pub(super) fn boots(self) -> bool {
        !matches!(self, VolumeType::St1 | VolumeType::Sc1)
    }

    /// GiB.
    fn sizes(self) -> RangeInclusive<u32> {
        match self {
            VolumeType::Gp2 => 1..=16_384,
            VolumeType::Gp3 => 1..=65_536,
            VolumeType::Io1 => 4..=16_384,
            VolumeType::Io2 => 4..=65_536,
            VolumeType::St1 | VolumeType::Sc1 => 125..=16_384,
            VolumeType::Standard => 1..=1024,
        }
    }

    /// IOPS that may be asked for, and how many of them for each GiB.
    fn iops(self) -> Option<(RangeInclusive<u32>, u32)> {
        match self {
            VolumeType::Gp3 => Some((GP3_IOPS..=80_000, 500)),
            VolumeType::Io1 => Some((100..=64_000, 50)),
            VolumeType::Io2 => Some((100..=256_000, 1000)),
            _ => None,
        }
    }
}

/// Size and speed of a volume that keeps the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Its type.
    pub kind: VolumeType,
    /// GiB.
    pub size: u32,
    /// IOPS; of the types that have none to choose, what they have anyway or none.
    pub iops: Option<u32>,
    /// MiB/s, of gp3.
    pub throughput: Option<u32>,
}

impl Shape {
    /// Applies the rules of the type.
    pub(super) fn new(
        kind: VolumeType,
        size: u32,
        iops: Option<u32>,
        throughput: Option<u32>,
    ) -> Result<Shape, Refusal> {
        let name = kind.name();
        within(&format!("size (GiB) of {name}"), size, &kind.sizes())?;
        let chosen = match (kind.iops(), iops) {
            (None, Some(_)) => {
                let message = format!("The parameter iops is not supported for {name} volumes.");
                return Err(combination(message));
            }
            (Some(_), None) if kind != VolumeType::Gp3 => {
                let message = format!("iops: it must be specified for {name} volumes");
                return Err(missing(&message));
            }
            (Some((range, ratio)), Some(iops)) => {
                within(&format!("iops of {name}"), iops, &range)?;
                // What gp3 has without asking needs no size.
                let free = kind == VolumeType::Gp3 && iops == GP3_IOPS;
                if !free && iops > size.saturating_mul(ratio) {
                    return Err(combination(format!(
                        "Iops to volume size ratio of {iops} to {size} is too high; maximum is {ratio}"
                    )));
                }
                Some(iops)
            }
            (_, None) => None,
        };
        if let Some(throughput) = throughput {
            if kind != VolumeType::Gp3 {
                return Err(combination(
                    "throughput can only be specified for volumeType gp3.",
                ));
            }
            within("throughput of gp3", throughput, &(GP3_THROUGHPUT..=2000))?;
            let iops = chosen.unwrap_or(GP3_IOPS);
            if throughput.saturating_mul(4) > iops {
                return Err(combination(format!(
                    "Throughput (MiBps) to iops ratio of {throughput} to {iops} is too high; \
                     maximum is 0.250000 MiBps per iops"
                )));
            }
        }
        let gp3 = kind == VolumeType::Gp3;
        Ok(Shape {
            kind,
            size,
            iops: match kind {
                VolumeType::Gp3 => Some(chosen.unwrap_or(GP3_IOPS)),
                VolumeType::Gp2 => Some(size.saturating_mul(3).clamp(100, 16_000)),
                _ => chosen,
            },
            throughput: throughput.or(gp3.then_some(GP3_THROUGHPUT)),
        })
    }
}

fn within(what: &str, number: u32, range: &RangeInclusive<u32>) -> Result<(), Refusal> {
    if range.contains(&number) {
        return Ok(());
    }
    Err(value(format!(
        "{number} is not valid for {what}: it is {} to {}",
        range.start(),
        range.end()
    )))
}

/// `VolumeInitializationRate` in MiB/s, which needs a snapshot.
pub(super) fn initialization_rate(
    rate: Option<u32>,
    snapshot: bool,
) -> Result<Option<u32>, Refusal> {
    match rate {
        Some(_) if !snapshot => Err(combination(
            "VolumeInitializationRate can be specified only with a snapshot",
        )),
        Some(rate) => {
            within("VolumeInitializationRate", rate, &(100..=300))?;
            Ok(Some(rate))
        }
        None => Ok(None),
    }
}

/// Refuses a volume that could not hold its snapshot.
pub(super) fn holds(
    size: u32,
    snapshot: &str,
    needs: u32,
    code: &'static str,
) -> Result<(), Refusal> {
    if size >= needs {
        return Ok(());
    }
    let message = format!(
        "Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size >= {needs}GB"
    );
    Err(bad(code, message))
}

#[cfg(test)]
mod tests {
    use super::VolumeType::{Gp2, Gp3, Io1, Io2, Sc1, St1, Standard};
    use super::*;

    #[test]
    fn each_type_has_its_ranges_and_ratios() {
        for (kind, size, iops, throughput, code) in [
            (Gp3, 1, None, None, ""),
            (Gp3, 1, Some(3000), Some(125), ""),
            (Gp3, 7, Some(3500), None, ""),
            (Gp3, 6, Some(3500), None, "InvalidParameterCombination"),
            (Gp3, 65_536, Some(80_000), Some(2000), ""),
            (Gp3, 65_537, None, None, "InvalidParameterValue"),
            (Gp3, 0, None, None, "InvalidParameterValue"),
            (Gp3, 100, Some(99), None, "InvalidParameterValue"),
            (Gp3, 100, None, Some(124), "InvalidParameterValue"),
            (Gp3, 100, None, Some(751), "InvalidParameterCombination"),
            (Gp3, 100, None, Some(9999), "InvalidParameterValue"),
            (Gp2, 100, Some(300), None, "InvalidParameterCombination"),
            (Gp2, 100, None, Some(200), "InvalidParameterCombination"),
            (Gp2, 16_385, None, None, "InvalidParameterValue"),
            (Io1, 4, Some(200), None, ""),
            (Io1, 4, None, None, "MissingParameter"),
            (Io1, 4, Some(201), None, "InvalidParameterCombination"),
            (Io1, 3, Some(100), None, "InvalidParameterValue"),
            (Io2, 4, Some(4000), None, ""),
            (Io2, 256, Some(256_001), None, "InvalidParameterValue"),
            (St1, 124, None, None, "InvalidParameterValue"),
            (Sc1, 125, None, None, ""),
            (Standard, 1025, None, None, "InvalidParameterValue"),
        ] {
            let shape = Shape::new(kind, size, iops, throughput);
            let got = shape.err().map_or("", |refusal| refusal.code);
            assert_eq!(got, code, "{kind:?} {size} {iops:?} {throughput:?}");
        }
        let shape = Shape::new(Gp3, 8, None, None).expect("a volume");
        assert_eq!((shape.iops, shape.throughput), (Some(3000), Some(125)));
    }
}
