//! Documents that people and rehost itself write.

use std::path::Path;

/// Blueprints and what is imported as one: every problem is in the text, and what is understood
/// survives being written.
pub fn blueprint(data: &[u8]) {
    use launch::blueprint::{Blueprint, Context, import};
    use launch::document;
    let check = |text: &str| match document::read::<Blueprint>(text) {
        Ok(document) => {
            let written = document
                .value()
                .to_yaml()
                .expect("a blueprint can be written");
            let again = document::read::<Blueprint>(&written).expect("and read");
            assert_eq!(again.value(), document.value(), "{written}");
            Blueprint::check(&document, &Context::default())
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    if let Ok(text) = str::from_utf8(data) {
        let lines = text.split(['\n', '\r']).count();
        for problem in check(text) {
            assert!((1..=lines).contains(&problem.line), "{problem}");
            assert!(problem.column > 0 && !problem.fix.is_empty(), "{problem}");
        }
    }
    for imported in import::import(data, None).into_iter().flatten() {
        let text = imported
            .to_yaml()
            .expect("an imported blueprint can be written");
        // What the other tool allowed may be refused here, but it is our format.
        for problem in check(&text) {
            assert!(!problem.rule.starts_with("yaml"), "{problem}\n{text}");
        }
    }
    let _ = launch::instances::Table::parse(data);
}

/// Plans as JSON.
pub fn plan(data: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<convert::Plan>(data) else {
        return;
    };
    let json = serde_json::to_vec(&plan).expect("a plan can be written");
    let again: convert::Plan = serde_json::from_slice(&json).expect("what was written is read");
    assert_eq!(again, plan);
    let _ = plan.render(true);
    for change in &plan.changes {
        let _ = change.diff();
    }
}

/// Manifests and indexes of a store, and ids of snapshots.
pub fn manifest(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(id) = text.parse::<store::SnapshotId>()
    {
        assert_eq!(id.to_string(), text);
    }
    let path = Path::new("a file");
    if let Ok(manifest) = store::Manifest::decode(path, data) {
        assert_eq!(manifest.encode(), data);
    }
    if let Ok(manifest) = serde_json::from_slice::<store::Manifest>(data) {
        // Its checksum is hardly right, whatever else it says.
        let _ = store::Manifest::decode(path, &manifest.encode());
        let json = serde_json::to_vec(&manifest).expect("a manifest can be written");
        let again: store::Manifest = serde_json::from_slice(&json).expect("it is read");
        assert_eq!(again, manifest);
    }
    if let Ok(index) = store::Index::decode(path, data, 1 << 20) {
        assert_eq!(index.encode(), data);
        assert_eq!(index.child(index.records(), 1 << 20, true), index);
        assert!(index.diff(&index).is_empty());
    }
}
