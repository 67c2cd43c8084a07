//! Runs that know each other by a file.

use ebs::{Error, Run};

#[test]
fn of_runs_that_come_and_go_each_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let come_and_go = || {
        let mut ended = 0;
        for _ in 0..300 {
            match Run::begin(dir.path(), &["staging", "web1"]) {
                Ok(run) => {
                    run.end().unwrap();
                    ended += 1;
                }
                Err(Error::Busy(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        ended
    };
    let ended: i32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        threads.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(ended > 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
