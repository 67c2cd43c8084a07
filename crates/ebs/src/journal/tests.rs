use super::*;

const SOURCE: Digest = [3; 32];
const BLOCKS: u32 = 100;

/// A journal with an id, three blocks put and one about to be; its bytes are returned.
fn written(path: &Path) -> Vec<u8> {
    let mut journal = create(path, 2, &SOURCE, BLOCKS).unwrap();
    journal.set_id("snap-0123456789abcdef0").unwrap();
    for block in [7, 3, 5] {
        journal.putting(block, &[1; 32]).unwrap();
        journal.done(block, &[1; 32]).unwrap();
    }
    journal.putting(9, &[1; 32]).unwrap();
    drop(journal);
    std::fs::read(path).unwrap()
}

fn reopened(path: &Path, bytes: &[u8]) -> Result<Option<Journal>, Error> {
    std::fs::write(path, bytes).unwrap();
    open(path, &SOURCE, BLOCKS)
}

#[test]
fn what_was_put_is_known_and_what_was_only_sent_must_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path);
    let journal = open(&path, &SOURCE, BLOCKS).unwrap().unwrap();
    assert_eq!(journal.attempt, 2);
    assert_eq!(journal.id.as_deref(), Some("snap-0123456789abcdef0"));
    let expected = [(3, [1; 32]), (5, [1; 32]), (7, [1; 32]), (9, MAYBE)];
    assert_eq!(journal.put, expected);
    // What is appended now follows the last record.
    journal.done(9, &[4; 32]).unwrap();
    drop(journal);
    let journal = open(&path, &SOURCE, BLOCKS).unwrap().unwrap();
    assert_eq!(journal.put.last(), Some(&(9, [4; 32])));
    assert!(!journal.sealing);
    journal.sealing().unwrap();
    drop(journal);
    let journal = open(&path, &SOURCE, BLOCKS).unwrap().unwrap();
    assert!(journal.sealing && journal.put.len() == 4);
}

#[test]
fn a_journal_that_was_cut_anywhere_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let bytes = written(&path);
    for len in 0..bytes.len() {
        let journal = reopened(&path, &bytes[..len]).unwrap();
        assert_eq!(journal.is_some(), len >= 64, "{len}");
        let Some(journal) = journal else {
            assert!(!path.exists());
            continue;
        };
        assert_eq!(journal.id.is_some(), len >= 136, "{len}");
        let records = len.saturating_sub(136) / 44;
        assert_eq!(journal.put.len(), records.div_ceil(2), "{len}");
        let whole = if len < 136 { 64 } else { 136 + records * 44 };
        assert_eq!(std::fs::metadata(&path).unwrap().len(), u64_of(whole));
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let bytes = written(&path);
    let last = bytes.len() - 44;
    for at in 0..last {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let result = reopened(&path, &damaged);
        assert!(matches!(result, Err(Error::Journal { .. })), "{at}");
    }
    // The last record cannot be told from one that a crash left unwritten.
    let mut damaged = bytes.clone();
    damaged[last + 3] ^= 0x10;
    let journal = reopened(&path, &damaged).unwrap().unwrap();
    assert_eq!(journal.put.len(), 3);
}

#[test]
fn the_journal_of_another_upload_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path);
    assert!(matches!(
        open(&path, &[4; 32], BLOCKS),
        Err(Error::Journal { .. })
    ));
    assert!(matches!(
        open(&path, &SOURCE, 99),
        Err(Error::Journal { .. })
    ));
}

#[test]
fn records_that_no_upload_writes_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let bytes = written(&path);
    for record in [
        Record::new(BLOCKS, raw::PUT, &[1; 32]),
        Record::new(1, 4, &[1; 32]),
    ] {
        let mut damaged = bytes.clone();
        damaged[136..180].copy_from_slice(record.as_bytes());
        let result = reopened(&path, &damaged);
        assert!(matches!(result, Err(Error::Journal { offset: 136, .. })));
    }
    let mut damaged = bytes;
    damaged[64..136].copy_from_slice(Id::new("../../etc/passwd").as_bytes());
    let result = reopened(&path, &damaged);
    assert!(matches!(result, Err(Error::Journal { offset: 64, .. })));
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let _first = create(&path, 0, &SOURCE, BLOCKS).unwrap();
    assert!(matches!(open(&path, &SOURCE, BLOCKS), Err(Error::Busy(_))));
    assert!(matches!(
        create(&path, 0, &SOURCE, BLOCKS),
        Err(Error::Busy(_))
    ));
}
