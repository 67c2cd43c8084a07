//! Blueprints as files: where the images are that they name, and what they say beside options.

use crate::args::{AwsArgs, UploadArgs};
use crate::locator::{Destination, Source};
use anyhow::{Context as _, Result, anyhow, bail};
use launch::blueprint::{Blueprint, Context};
use launch::document::{self, Document, Problems, Severity};
use launch::instances::Table;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A blueprint that can be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) blueprint: Blueprint,
    /// The images that it names, as the command line would.
    pub(crate) images: Vec<String>,
}

/// Reads a blueprint for a conversion.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    let cannot = || format!("cannot use the blueprint {}", path.display());
    let document: Document<Blueprint> = document::load(path).with_context(cannot)?;
    let mut problems = Blueprint::check(&document, &Context::default());
    // The table of types may be older than the type, and a conversion does not need it.
    problems.retain(|problem| {
        problem.severity == Severity::Error && problem.rule != "instance-type-unknown"
    });
    if !problems.is_empty() {
        return Err(anyhow!(Problems::in_file(path, problems))).with_context(cannot);
    }
    Ok(Loaded {
        images: images(path, document.value()),
        blueprint: document.into_value(),
    })
}

/// The instance types that are meant: the built-in ones, or those of a file.
pub(crate) fn types(file: Option<&Path>) -> Result<Cow<'static, Table>> {
    Ok(match file {
        None => Cow::Borrowed(Table::built_in()),
        Some(path) => Cow::Owned(Table::read(path)?),
    })
}

/// The images that a blueprint names: relative paths are meant from its own directory.
pub(crate) fn images(path: &Path, blueprint: &Blueprint) -> Vec<String> {
    let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let sources = blueprint
        .disks
        .iter()
        .filter_map(|disk| disk.source.as_ref());
    sources
        .map(|source| match Source::parse(source) {
            Ok(Source::File(file)) => dir.join(file).to_string_lossy().into_owned(),
            // What cannot be understood is told when it is opened.
            _ => source.clone(),
        })
        .collect()
}

/// Fills in what the command line left open about uploads, and the region. Limits are those of the
/// whole process, so of several blueprints the lowest counts.
pub(crate) fn complete<'a>(
    blueprints: impl IntoIterator<Item = &'a Blueprint>,
    aws: &mut AwsArgs,
    upload: &mut UploadArgs,
    destination: &Destination,
) -> Result<()> {
    let (mut requests, mut mbps) = (None, None);
    let mut regions = BTreeSet::new();
    for blueprint in blueprints {
        let wanted = &blueprint.upload;
        requests = lowest(requests, wanted.max_requests_per_second);
        mbps = lowest(mbps, wanted.bandwidth_mbps);
        aws.concurrency = lowest(aws.concurrency, wanted.concurrency);
        upload.timeout_minutes = lowest(upload.timeout_minutes, wanted.timeout_minutes);
        upload.blueprint_no_zero_fill |= wanted.zero_fill == Some(false);
        regions.extend(blueprint.region.as_deref());
    }
    aws.max_requests = aws.max_requests.or(requests.map(f64::from));
    aws.max_mbps = aws.max_mbps.or(mbps.map(f64::from));
    let mut regions = regions.into_iter();
    match (regions.next(), regions.next()) {
        _ if aws.region.is_some() => {}
        (Some(one), Some(other)) if *destination == Destination::Ebs => bail!(
            "the blueprints are for {one} and for {other}; convert those of one region at a time, or \
             give --region"
        ),
        (Some(region), None) => aws.region = Some(region.to_owned()),
        _ => {}
    }
    Ok(())
}

fn lowest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_images_are_beside_the_blueprint() {
        let text = "metadata: {machine: a}\ndisks:\n- source: a.vmdk\n- source: /b.vmdk\n\
                    - source: ebs:snap-0123456789abcdef0\n";
        let document = document::read::<Blueprint>(text).unwrap();
        let images = images(Path::new("dir/a.yaml"), document.value());
        assert_eq!(
            images,
            ["dir/a.vmdk", "/b.vmdk", "ebs:snap-0123456789abcdef0"]
        );
    }

    #[test]
    fn the_command_line_goes_before_blueprints_and_the_lowest_limit_counts() {
        let blueprint = |text: &str| {
            let text = format!("metadata: {{machine: a}}\nregion: eu-west-1\nupload: {text}\n");
            document::read::<Blueprint>(&text).unwrap().into_value()
        };
        let mut blueprints = [
            blueprint("{maxRequestsPerSecond: 200, bandwidthMbps: 100, timeoutMinutes: 60}"),
            blueprint("{maxRequestsPerSecond: 300, concurrency: 8, zeroFill: false}"),
        ];
        let mut upload = UploadArgs::default();
        let mut aws = AwsArgs {
            max_mbps: Some(7.5),
            ..AwsArgs::default()
        };
        complete(&blueprints, &mut aws, &mut upload, &Destination::Ebs).unwrap();
        assert_eq!((aws.max_requests, aws.max_mbps), (Some(200.0), Some(7.5)));
        assert_eq!(aws.concurrency, Some(8));
        assert_eq!(aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(upload.timeout_minutes, Some(60));
        assert!(upload.blueprint_no_zero_fill && !upload.is_given());
        blueprints[1].region = Some("us-east-1".to_owned());
        complete(&blueprints, &mut aws, &mut upload, &Destination::Ebs).unwrap();
        assert_eq!(aws.region.as_deref(), Some("eu-west-1"), "said already");
        let mut aws = AwsArgs::default();
        let store = Destination::Store("s".into());
        complete(&blueprints, &mut aws, &mut upload, &store).unwrap();
        assert_eq!(aws.region, None);
        let error = complete(&blueprints, &mut aws, &mut upload, &Destination::Ebs).unwrap_err();
        assert!(error.to_string().contains("us-east-1"), "{error}");
    }
}
