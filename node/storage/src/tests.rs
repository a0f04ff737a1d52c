//! A directory that lost something is told apart from a new one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::data_dir::{Contents, DataDir};
use crate::disk::{DiskRunner, Volume};
use crate::identity::Identity;
use crate::log::{Log, LogOptions};
use crate::testing::{Quick, gone, identity, member, open_log, record, runner, runtime};

fn used(path: &Path) -> Identity {
    runtime().block_on(async {
        let dir = member(path);
        let log = open_log(&dir, false);
        let shard = log.shard(0).unwrap();
        for index in 0..50 {
            shard.append(vec![record(1, index, 3000)], Box::new(|r| r.unwrap())).unwrap();
        }
        shard.wait_durable(49).await.unwrap();
        drop(shard);
        log.close().await;
        gone(&path.join("log")).await;
        dir.identity().unwrap()
    })
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_new_directory_belongs_to_nobody_until_it_is_given_away() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(tmp.path()).unwrap();
    assert_eq!(dir.contents(), Contents::New);
    assert!(matches!(Log::open(&dir, LogOptions::default(), &runner(true)), Err(Error::Identity { .. })));
    dir.create(identity(1)).unwrap();
    assert!(matches!(dir.create(identity(2)), Err(Error::Identity { .. })));
    drop(dir);
    assert_eq!(DataDir::open(tmp.path()).unwrap().contents(), Contents::Member(identity(1)));
}

#[test]
fn one_process_at_a_time() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(tmp.path()).unwrap();
    assert!(matches!(DataDir::open(tmp.path()), Err(Error::InUse { .. })));
    assert!(matches!(DataDir::set_aside(tmp.path()), Err(Error::InUse { .. })));
    drop(dir);
    DataDir::open(tmp.path()).unwrap();
}

#[test]
fn opening_the_log_marks_the_directory_as_used() {
    let tmp = tempfile::tempdir().unwrap();
    assert!(used(tmp.path()).voted);
    assert!(DataDir::open(tmp.path()).unwrap().identity().unwrap().voted);
}

#[test]
fn one_bad_copy_of_the_identity_heals_and_two_are_corrupt() {
    let tmp = tempfile::tempdir().unwrap();
    let (a, b) = (tmp.path().join("identity.a"), tmp.path().join("identity.b"));
    let whose = used(tmp.path());
    let good = fs::read(&a).unwrap();
    for (copy, cut) in [(&a, 0), (&a, 20), (&b, 60), (&b, good.len() - 1)] {
        fs::write(copy, &good[..cut]).unwrap();
        assert_eq!(DataDir::open(tmp.path()).unwrap().identity(), Some(whose.clone()));
        assert_eq!(fs::read(copy).unwrap(), good);
    }
    fs::remove_file(&b).unwrap();
    assert_eq!(DataDir::open(tmp.path()).unwrap().identity(), Some(whose));
    assert_eq!(fs::read(&b).unwrap(), good);
    for at in 0..good.len() {
        fs::write(&a, &good).unwrap();
        fs::write(&b, &good[..at]).unwrap();
        flip(&a, at);
        assert!(matches!(DataDir::open(tmp.path()), Err(Error::Corrupt { .. })), "byte {at}");
    }
}

#[test]
fn a_newer_identity_is_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    used(tmp.path());
    for copy in ["identity.a", "identity.b"] {
        let path = tmp.path().join(copy);
        let mut bytes = fs::read(&path).unwrap();
        bytes[4] = 2;
        let body = bytes.len() - 8;
        let sum = twox_hash::XxHash3_64::oneshot(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    }
    assert!(matches!(DataDir::open(tmp.path()), Err(Error::NewerFormat { found: 2, supported: 1, .. })));
}

#[test]
fn a_used_directory_without_its_log_is_amnesia() {
    for lose in [
        (|p| fs::remove_dir_all(p.join("log"))) as fn(&Path) -> std::io::Result<()>,
        |p| fs::remove_file(p.join("log/data.mdb")),
        |p| fs::write(p.join("log/data.mdb"), []),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        used(tmp.path());
        lose(tmp.path()).unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(Error::Amnesia { node: 1, .. })));
        // And it stays so: looking at it repaired nothing.
        assert!(matches!(DataDir::open(tmp.path()), Err(Error::Amnesia { node: 1, .. })));
    }
}

#[test]
fn a_log_without_an_identity_is_not_a_new_directory() {
    let tmp = tempfile::tempdir().unwrap();
    used(tmp.path());
    fs::remove_file(tmp.path().join("identity.a")).unwrap();
    fs::remove_file(tmp.path().join("identity.b")).unwrap();
    assert!(matches!(DataDir::open(tmp.path()), Err(Error::IdentityMissing { .. })));
}

#[test]
fn a_log_of_another_node_is_foreign() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    used(one.path());
    let dir = DataDir::open(two.path()).unwrap();
    dir.create(Identity { node_id: 2, ..identity(2) }).unwrap();
    fs::rename(one.path().join("log"), two.path().join("log")).unwrap();
    assert!(matches!(Log::open(&dir, LogOptions::default(), &runner(true)), Err(Error::Foreign { .. })));
}

#[test]
fn a_truncated_log_is_corrupt_and_no_signal() {
    let tmp = tempfile::tempdir().unwrap();
    used(tmp.path());
    let data = tmp.path().join("log/data.mdb");
    let claimed = crate::preflight::check(&data).unwrap();
    for length in [claimed - 1, claimed / 2, 8192, 4097, 4096, 100, 1] {
        fs::File::options().write(true).open(&data).unwrap().set_len(length).unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(Error::Corrupt { .. })), "{length} bytes");
    }
}

#[test]
fn a_lost_meta_page_is_corrupt_and_not_the_transaction_before() {
    let tmp = tempfile::tempdir().unwrap();
    used(tmp.path());
    let data = tmp.path().join("log/data.mdb");
    let whole = fs::read(&data).unwrap();
    // The transaction numbers of both meta pages; the lowest bit makes them equal or two apart, higher ones more.
    for at in [16 + 128, 4096 + 16 + 128, 16 + 130, 4096 + 16] {
        fs::write(&data, &whole).unwrap();
        flip(&data, at);
        assert!(matches!(DataDir::open(tmp.path()), Err(Error::Corrupt { .. })), "byte {at}");
    }
}

#[test]
fn setting_aside_keeps_everything_and_leaves_a_new_directory() {
    let tmp = tempfile::tempdir().unwrap();
    used(tmp.path());
    let identity = fs::read(tmp.path().join("identity.a")).unwrap();
    let aside = DataDir::set_aside(tmp.path()).unwrap();
    assert_eq!(DataDir::open(tmp.path()).unwrap().contents(), Contents::New);
    assert_eq!(fs::read(aside.join("identity.a")).unwrap(), identity);
    assert!(aside.join("log/data.mdb").exists());
    used(tmp.path());
    assert_ne!(DataDir::set_aside(tmp.path()).unwrap(), aside);
}

#[test]
fn what_is_left_on_the_disk_is_asked_of_its_runner() {
    runtime().block_on(async {
        let tmp = tempfile::tempdir().unwrap();
        let dir = member(tmp.path());
        let quick: Arc<dyn DiskRunner> = Arc::new(Quick);
        let log = Log::open(&dir, LogOptions::default(), &quick).unwrap();
        assert_eq!(log.shard(0).unwrap().disk_free_bytes(), 47 << 30);
        let (there, nowhere) = (runner(true).volume(tmp.path()), runner(true).volume(Path::new("/nowhere")));
        assert!(there.free_bytes > 0 && there.free_bytes < there.total_bytes && !there.is_read_only);
        assert_eq!(nowhere, Volume::default());
    });
}
