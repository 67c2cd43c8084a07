//! Answers of EC2's DescribeInstanceTypes, as `aws ec2 describe-instance-types` prints them.

use super::{Architecture, Hypervisor, InstanceType, Support, Table};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: all types of 2026 take 4 MiB.
const MAX_SIZE: u64 = 64 << 20;

/// Why a file with instance types could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system did not give the file.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any answer of EC2.
    #[error("{path} is larger than 64 MiB; give what `aws ec2 describe-instance-types` prints")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not an answer of EC2.
    #[error("{path} is not what `aws ec2 describe-instance-types --output json` prints")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It names no types.
    #[error("{path} holds no instance types")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Table {
    /// Reads what `aws ec2 describe-instance-types` printed.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let path = path.to_owned();
        if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_SIZE) {
            return Err(Error::TooLarge { path });
        }
        match Self::parse(&bytes) {
            Ok(table) if table.is_empty() => Err(Error::Empty { path }),
            Ok(table) => Ok(table),
            Err(source) => Err(Error::Json { path, source }),
        }
    }

    /// Reads the bytes of such a file.
    ///
    /// # Errors
    ///
    /// If they are not JSON of that form.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_slice(bytes)?;
        Ok(Self::new(
            answer.instance_types.into_iter().map(Record::reduce),
        ))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    instance_types: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    instance_type: String,
    #[serde(default)]
    bare_metal: bool,
    #[serde(default)]
    burstable_performance_supported: bool,
    #[serde(default)]
    current_generation: bool,
    #[serde(default)]
    dedicated_hosts_supported: bool,
    #[serde(default)]
    ebs_info: EbsInfo,
    hypervisor: Option<String>,
    #[serde(default)]
    instance_storage_info: StorageInfo,
    memory_info: MemoryInfo,
    network_info: NetworkInfo,
    #[serde(default)]
    nitro_tpm_support: String,
    processor_info: ProcessorInfo,
    #[serde(default)]
    supported_boot_modes: Vec<String>,
    #[serde(rename = "VCpuInfo")]
    vcpu_info: VcpuInfo,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EbsInfo {
    attachment_limit_type: String,
    ebs_optimized_support: String,
    maximum_ebs_attachments: u32,
    nvme_support: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StorageInfo {
    disks: Vec<StorageDisk>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDisk {
    count: u32,
}

#[derive(Deserialize)]
struct MemoryInfo {
    #[serde(rename = "SizeInMiB")]
    size_in_mib: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkInfo {
    #[serde(default)]
    ena_support: String,
    maximum_network_interfaces: u32,
    ipv4_addresses_per_interface: u32,
    #[serde(default)]
    ipv6_addresses_per_interface: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessorInfo {
    supported_architectures: Vec<String>,
}

#[derive(Deserialize)]
struct VcpuInfo {
    #[serde(rename = "DefaultVCpus")]
    default_vcpus: u32,
    #[serde(rename = "ValidCores", default)]
    valid_cores: Vec<u32>,
    #[serde(rename = "ValidThreadsPerCore", default)]
    valid_threads_per_core: Vec<u32>,
}

impl Record {
    fn reduce(self) -> InstanceType {
        let support = |word: &str| match word {
            "required" | "default" => Support::Required,
            "supported" => Support::Supported,
            _ => Support::Unsupported,
        };
        let architectures = self.processor_info.supported_architectures.iter();
        let disks = self.instance_storage_info.disks.iter();
        let has_mode = |mode: &str| self.supported_boot_modes.iter().any(|one| one == mode);
        let hypervisor = match (self.bare_metal, self.hypervisor.as_deref()) {
            (true, _) => Hypervisor::Metal,
            (false, Some("nitro")) => Hypervisor::Nitro,
            (false, _) => Hypervisor::Xen,
        };
        InstanceType {
            vcpus: self.vcpu_info.default_vcpus,
            memory_mib: self.memory_info.size_in_mib,
            // What comes after these is nothing that this can convert.
            architectures: architectures
                .filter_map(|word| Architecture::named(word))
                .collect(),
            hypervisor,
            legacy_bios: has_mode("legacy-bios"),
            uefi: has_mode("uefi"),
            nvme: support(&self.ebs_info.nvme_support),
            ena: support(&self.network_info.ena_support),
            ebs_optimized: support(&self.ebs_info.ebs_optimized_support),
            max_volumes: self.ebs_info.maximum_ebs_attachments,
            shares_attachments: self.ebs_info.attachment_limit_type == "shared",
            max_interfaces: self.network_info.maximum_network_interfaces,
            ipv4_per_interface: self.network_info.ipv4_addresses_per_interface,
            ipv6_per_interface: self.network_info.ipv6_addresses_per_interface,
            instance_disks: disks.fold(0, |sum, disk| disk.count.saturating_add(sum)),
            threads: self.vcpu_info.valid_threads_per_core,
            cores: self.vcpu_info.valid_cores,
            nitro_tpm: self.nitro_tpm_support == "supported",
            current: self.current_generation,
            burstable: self.burstable_performance_supported,
            dedicated_hosts: self.dedicated_hosts_supported,
            name: self.instance_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole records of EC2, of the kinds that there are.
    const ANSWER: &[u8] = include_bytes!("describe-instance-types.json");

    #[test]
    fn an_answer_of_ec2_says_what_the_table_says() {
        let read = Table::parse(ANSWER).unwrap();
        assert!(read.len() >= 6);
        for one in read.iter() {
            assert_eq!(Some(one), Table::built_in().get(&one.name), "{}", one.name);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [&b""[..], b"{}", b"[]", b"{\"InstanceTypes\": [{}]}"] {
            assert!(Table::parse(bad).is_err());
        }
        let deep = "[".repeat(100_000);
        assert!(Table::parse(deep.as_bytes()).is_err());
    }
}
