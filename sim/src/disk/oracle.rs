//! The disk model against a naive one: random operations on real files, then a crash.
//!
//! The naive model keeps the whole story of each file and works out what must be there from its beginning.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Disks, Failure, Image, Loss};
use crate::interpose;
use crate::seed::Rng;

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Step {
    Put { at: usize, bytes: Vec<u8>, through: bool },
    Resize(usize),
    Sync,
}

/// A file's story, and what it is called where.
#[derive(Default)]
struct Story {
    steps: Vec<Step>,
    /// Its name now.
    name: String,
    /// Its name when the directory was synced last, if it had one.
    synced_name: Option<String>,
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Story {
    /// With everything that was written.
    fn visible(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for step in &self.steps {
            match step {
                Step::Put { at, bytes, .. } => put(&mut file, *at, bytes),
                Step::Resize(len) => file.resize(*len, 0),
                Step::Sync => {}
            }
        }
        file
    }

    /// With what was synced, and what was written through, at the time it reached the medium.
    fn durable(&self) -> Vec<u8> {
        let (mut file, mut from) = (Vec::new(), 0);
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Put { at, bytes, through: true } => put(&mut file, *at, bytes),
                Step::Sync => {
                    for step in &self.steps[from..i] {
                        match step {
                            Step::Put { at, bytes, through: false } => put(&mut file, *at, bytes),
                            Step::Resize(len) => file.resize(*len, 0),
                            Step::Put { .. } | Step::Sync => {}
                        }
                    }
                    from = i + 1;
                }
                Step::Put { .. } | Step::Resize(_) => {}
            }
        }
        file
    }

    /// Every content that a sector ever had, zeros included.
    fn sectors(&self, number: usize) -> Vec<Vec<u8>> {
        let mut had = vec![vec![0; SECTOR]];
        for step in &self.steps {
            let Step::Put { at, bytes, .. } = step else { continue };
            let whole = (number * SECTOR).checked_sub(*at).and_then(|from| bytes.get(from..from + SECTOR));
            had.extend(whole.map(<[u8]>::to_vec));
        }
        had
    }
}

struct Bench {
    root: PathBuf,
    stories: Vec<Story>,
    rng: Rng,
}

impl Bench {
    fn open(&self, story: usize, through: bool) -> io::Result<File> {
        let flags = if through { libc::O_DSYNC } else { 0 };
        File::options().write(true).custom_flags(flags).open(self.root.join(&self.stories[story].name))
    }

    /// One operation on a file, and in its story.
    fn act(&mut self) -> io::Result<()> {
        let chosen = self.rng.below(self.stories.len() as u64 + 1) as usize;
        if chosen == self.stories.len() {
            let name = format!("file-{chosen}");
            File::create(self.root.join(&name))?;
            self.stories.push(Story { name, ..Story::default() });
            return Ok(());
        }
        match self.rng.below(12) {
            0..6 => self.put(chosen),
            6 => {
                let len = self.rng.below(16) as usize * SECTOR;
                self.open(chosen, false)?.set_len(len as u64)?;
                self.stories[chosen].steps.push(Step::Resize(len));
                Ok(())
            }
            7..9 => {
                let file = self.open(chosen, false)?;
                if self.rng.percent(50) {
                    file.sync_all()?
                } else {
                    file.sync_data()?
                }
                self.stories[chosen].steps.push(Step::Sync);
                Ok(())
            }
            9 => {
                let name = format!("{}'", self.stories[chosen].name);
                fs::rename(self.root.join(&self.stories[chosen].name), self.root.join(&name))?;
                self.stories[chosen].name = name;
                Ok(())
            }
            _ => {
                File::open(&self.root)?.sync_all()?;
                self.stories.iter_mut().for_each(|story| story.synced_name = Some(story.name.clone()));
                Ok(())
            }
        }
    }

    fn put(&mut self, chosen: usize) -> io::Result<()> {
        let (at, sectors) = (self.rng.below(12) as usize * SECTOR, self.rng.between(1, 4) as usize);
        let mut bytes = vec![0; sectors * SECTOR];
        self.rng.fill(&mut bytes);
        let through = self.rng.percent(30);
        let mut file = self.open(chosen, through)?;
        match self.rng.below(3) {
            0 => {
                file.seek(SeekFrom::Start(at as u64))?;
                file.write_all(&bytes)?;
            }
            _ => file.write_all_at(&bytes, at as u64)?,
        }
        self.stories[chosen].steps.push(Step::Put { at, bytes, through });
        Ok(())
    }

    fn check(&self, image: &Image, loss: Loss) -> Result<(), String> {
        let files: BTreeMap<&Path, Vec<u8>> =
            image.files.iter().map(|(p, s)| (p.as_path(), whole(s))).collect();
        let names = |of: &dyn Fn(&Story) -> Option<String>| -> Vec<String> {
            let mut names: Vec<String> = self.stories.iter().filter_map(of).collect();
            names.sort();
            names
        };
        let (now, synced) = (names(&|s| Some(s.name.clone())), names(&|s| s.synced_name.clone()));
        let found: Vec<String> = files.keys().map(|p| p.display().to_string()).collect();
        let fits = match loss {
            Loss::Nothing => found == now,
            Loss::Unsynced => found == synced,
            Loss::Torn => found == now || found == synced,
        };
        if !fits {
            return Err(format!("{loss:?}: names are {found:?}, now {now:?}, synced {synced:?}"));
        }
        for story in &self.stories {
            let called = [Some(&story.name), story.synced_name.as_ref()];
            let Some((name, file)) =
                called.into_iter().flatten().find_map(|n| Some((n, files.get(Path::new(n))?)))
            else {
                continue;
            };
            let fits = match loss {
                Loss::Nothing => *file == story.visible(),
                Loss::Unsynced => *file == story.durable(),
                Loss::Torn => {
                    file.chunks(SECTOR).enumerate().all(|(i, s)| story.sectors(i).iter().any(|had| had == s))
                }
            };
            if !fits {
                return Err(format!(
                    "{loss:?}: {name} is not what it must be, its story has {} steps",
                    story.steps.len()
                ));
            }
        }
        Ok(())
    }
}

/// A saved file, with the zeros at its end.
fn whole(saved: &super::image::Saved) -> Vec<u8> {
    let mut bytes = saved.visible.bytes.clone();
    bytes.resize(saved.visible.len as usize, 0);
    bytes
}

/// Lets the hook go again.
struct Hooked;

impl Drop for Hooked {
    fn drop(&mut self) {
        interpose::set_hook(None);
    }
}

/// One story after the other under one seed, in `dir`, each with three crashes: the last two start from what the one
/// before left.
///
/// # Errors
/// What the two models disagree about.
pub fn against_naive(seed: u64, dir: &Path) -> Result<u64, String> {
    let disks = Rc::new(Disks::default());
    interpose::set_hook(Some(Rc::clone(&disks) as Rc<dyn interpose::Hook>));
    let _hooked = Hooked;
    let mut rng = Rng::new(seed, "oracle");
    let mut acts = 0;
    let loss = *rng.pick(&[Loss::Nothing, Loss::Unsynced, Loss::Torn]);
    let root = dir.join(format!("disk-{seed}"));
    fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    let medium = disks.mount(&root, None).map_err(|e| e.to_string())?;
    medium.borrow_mut().reseed(rng.fork());
    let failing = rng.percent(50);
    if failing {
        let failure = Failure { op: rng.below(60), after: rng.percent(50), loss };
        medium.borrow_mut().trouble.failure = Some(failure);
    }
    let mut bench = Bench { root: root.clone(), stories: Vec::new(), rng: rng.fork() };
    for _ in 0..rng.between(1, 120) {
        acts += 1;
        // An operation that fails is not in the story. One after which the power failed is.
        let (done, lost) = (bench.act(), medium.borrow().lost().is_some());
        if let (Err(e), false) = (&done, lost) {
            return Err(format!("seed {seed}: {e}"));
        }
        if lost {
            break;
        }
    }
    medium.borrow_mut().lose_power(loss);
    let image = medium.borrow_mut().take_image().ok_or("no image")?;
    disks.unmount(&root);
    bench.check(&image, loss).map_err(|e| format!("seed {seed}: {e}"))?;
    survive(&disks, &image, &dir.join(format!("again-{seed}"))).map_err(|e| format!("seed {seed}: {e}"))?;
    Ok(acts)
}

/// What was kept is what the next life finds; and what a killed process had not synced is lost with the power later.
fn survive(disks: &Rc<Disks>, image: &Image, root: &Path) -> Result<(), String> {
    image.restore(root).map_err(|e| e.to_string())?;
    let medium = disks.mount(root, Some(image)).map_err(|e| e.to_string())?;
    for (path, saved) in &image.files {
        let read = fs::read(root.join(path)).map_err(|e| e.to_string())?;
        if read != whole(saved) {
            return Err(format!("{} was not restored", path.display()));
        }
    }
    medium.borrow_mut().lose_power(Loss::Unsynced);
    let later = medium.borrow_mut().take_image().ok_or("no image")?;
    disks.unmount(root);
    let durable = image.files.iter().all(|(path, saved)| {
        later.files.get(path).is_some_and(|later| later.visible == saved.content.durable)
    });
    if durable {
        Ok(())
    } else {
        Err("the next power loss took more or less than what was not synced".into())
    }
}

/// A failed sync leaves what it was to cover readable, and takes it with the next power loss; a full disk refuses to let
/// files grow and nothing else.
///
/// # Errors
/// What was otherwise.
pub fn failures(dir: &Path) -> Result<(), String> {
    let disks = Rc::new(Disks::default());
    interpose::set_hook(Some(Rc::clone(&disks) as Rc<dyn interpose::Hook>));
    let _hooked = Hooked;
    let root = dir.join("failures");
    fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    let medium = disks.mount(&root, None).map_err(|e| e.to_string())?;
    let done = Cell::new(0);
    let step = |what: &str, ok: bool| {
        done.set(done.get() + 1);
        if ok { Ok(()) } else { Err(format!("step {}: {what}", done.get())) }
    };
    let file = File::create(root.join("file")).map_err(|e| e.to_string())?;
    step("written", file.write_all_at(&[1; 4096], 0).is_ok() && file.sync_all().is_ok())?;
    step("names are synced", File::open(&root).and_then(|dir| dir.sync_all()).is_ok())?;
    medium.borrow().space.set_full(true);
    let refused = file.write_all_at(&[2; 4096], 4096).is_err_and(|e| e.raw_os_error() == Some(libc::ENOSPC));
    step("a full disk refuses growth", refused && file.set_len(8192).is_err())?;
    step("a full disk takes what fits", file.write_all_at(&[2; 4096], 0).is_ok() && file.sync_all().is_ok())?;
    medium.borrow().space.set_full(false);
    medium.borrow().space.leave(6000);
    let cut =
        (&file).seek(SeekFrom::Start(4096)).is_ok() && (&file).write(&[2; 8192]).is_ok_and(|n| n == 4096);
    step("a write is cut short where the room ends", cut && file.metadata().is_ok_and(|m| m.len() == 8192))?;
    let refused = file.write_all_at(&[2; 4096], 8192).is_err_and(|e| e.raw_os_error() == Some(libc::ENOSPC));
    step("and the next one is refused", refused && file.set_len(4096).is_ok() && file.sync_all().is_ok())?;
    medium.borrow().space.relieve();
    medium.borrow_mut().trouble.fail_sync = true;
    let failed = file.write_all_at(&[3; 4096], 0).is_ok()
        && file.sync_all().is_err_and(|e| e.raw_os_error() == Some(libc::EIO));
    step("a sync fails", failed)?;
    step("the next one does not", file.sync_all().is_ok())?;
    step("it can be read", fs::read(root.join("file")).is_ok_and(|bytes| bytes == [3; 4096]))?;
    medium.borrow_mut().lose_power(Loss::Unsynced);
    step("nothing is written without power", file.write_all_at(&[4; 4096], 0).is_err())?;
    let image = medium.borrow_mut().take_image().ok_or("no image")?;
    let kept = image.files.get(Path::new("file")).is_some_and(|saved| saved.visible.bytes == [2; 4096]);
    step("it was never on the medium", kept)
}
