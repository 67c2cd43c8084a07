//! Rules about several blueprints: the machines of one migration run at the same time.

use crate::blueprint::Blueprint;
use crate::document::{Document, Problem};
use std::collections::BTreeMap;

/// What one blueprint uses and another one cannot use too.
struct Used<'a> {
    blueprint: usize,
    path: String,
    subnet: Option<&'a str>,
}

/// Checks blueprints of one project against each other: names of machines, addresses, interfaces
/// and Elastic IP addresses. Each problem comes with the index of the blueprint that it is in.
pub fn check_together(documents: &[&Document<Blueprint>]) -> Vec<(usize, Problem)> {
    let mut problems = Vec::new();
    let mut machines = BTreeMap::new();
    let mut addresses: BTreeMap<_, Vec<Used<'_>>> = BTreeMap::new();
    let mut singles: BTreeMap<&str, Used<'_>> = BTreeMap::new();
    for (at, document) in documents.iter().enumerate() {
        let blueprint = document.value();
        let name = |index: usize| {
            let other = documents.get(index);
            other.map_or("", |other| other.value().metadata.machine.as_str())
        };
        if let Some(first) = machines.insert(&blueprint.metadata.machine, at) {
            let problem = document.problem(
                "metadata.machine",
                "machine-twice",
                format!("blueprint {} is about this machine already", first + 1),
                "give each machine its own name",
            );
            problems.push((at, problem));
        }
        for (number, interface) in blueprint.network.interfaces.iter().enumerate() {
            let path = format!("network.interfaces[{number}]");
            let subnet = interface.subnet_id.as_deref();
            for (index, address) in interface.private_ips.iter().enumerate() {
                let path = format!("{path}.privateIps[{index}]");
                let users = addresses.entry(address).or_default();
                // Within one blueprint its own check tells.
                if let Some(other) = users.iter().find(|other| other.blueprint != at) {
                    let message = format!(
                        "{} has {address} already, at {}",
                        name(other.blueprint),
                        other.path
                    );
                    let fix = "write another address";
                    let problem = document.problem(&path, "ip-twice-in-project", message, fix);
                    // Subnets of one VPC share no address, so these are in two VPCs.
                    let apart = matches!((subnet, other.subnet), (Some(a), Some(b)) if a != b);
                    problems.push((at, if apart { problem.warning() } else { problem }));
                }
                users.push(Used {
                    blueprint: at,
                    path,
                    subnet,
                });
            }
            for (field, id) in [
                ("eniId", interface.eni_id.as_deref()),
                ("eipAllocationId", interface.eip_allocation_id.as_deref()),
            ] {
                let Some(id) = id else { continue };
                let path = format!("{path}.{field}");
                let other = singles.get(id).filter(|other| other.blueprint != at);
                if let Some(other) = other {
                    let message = format!(
                        "{} has {id} already, at {}",
                        name(other.blueprint),
                        other.path
                    );
                    let fix = "name another one";
                    let rule = "network-id-twice-in-project";
                    problems.push((at, document.problem(&path, rule, message, fix)));
                }
                singles.entry(id).or_insert(Used {
                    blueprint: at,
                    path,
                    subnet,
                });
            }
        }
    }
    problems
}
