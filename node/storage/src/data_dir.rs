//! The data directory: one process at a time, one node for ever.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Error;
use crate::identity::{self, Identity, sync_dir};
use crate::preflight;

const LOCK: &str = "LOCK";
const LOG: &str = "log";
const STATE: &str = "state-";
const ASIDE: &str = "aside-";
/// Says why the node must not go on with this directory.
const DAMAGED: &str = "damaged";
pub(crate) const DATA_FILE: &str = "data.mdb";

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: it can be given to a node with [`DataDir::create`].
    New,
    /// The node that it belongs to.
    Member(Identity),
}

/// An open data directory. Cheap to clone; the lock is released with the last clone.
#[derive(Debug, Clone)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Closing it releases the lock.
    lock: File,
    /// Which directory it is, whatever is called like it later.
    number: Number,
    identity: Mutex<Option<(u64, Identity)>>,
}

impl DataDir {
    /// Opens `path`, making it if it is not there, and looks at what it holds without touching the environments.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::IdentityMissing`], [`Error::Amnesia`] if the log of a used identity is gone or empty,
    /// [`Error::Corrupt`] if both identities are bad, an environment is cut short or damage was met before, [`Error::NewerFormat`],
    /// [`Error::Disk`]. Whose the environments are is checked when they are opened.
    pub fn open(path: &Path) -> Result<DataDir, Error> {
        make(path)?;
        let path = path.canonicalize().map_err(|e| Error::io("looking at", path, &e))?;
        let lock = take_lock(&path)?;
        if let Ok(what) = fs::read_to_string(path.join(DAMAGED)) {
            return Err(Error::corrupt(path.display().to_string(), what));
        }
        let identity = identity::load(&path)?;
        let environments = environments(&path)?;
        match &identity {
            None if !environments.is_empty() => return Err(Error::IdentityMissing { path }),
            None => {}
            Some((_, identity)) => check_log(&path, identity)?,
        }
        for environment in environments {
            preflight::check(&environment.join(DATA_FILE))?;
        }
        let number = number_of(&fs::metadata(&path).map_err(|e| Error::io("looking at", &path, &e))?);
        Ok(DataDir(Arc::new(Inner { path, lock, number, identity: Mutex::new(identity) })))
    }

    /// What the directory holds.
    pub fn contents(&self) -> Contents {
        self.identity().map_or(Contents::New, Contents::Member)
    }

    /// Whether data was set aside in it: whoever it belongs to next was a member before.
    pub fn has_set_aside(&self) -> bool {
        names(&self.0.path).is_ok_and(|names| names.iter().any(|name| name.starts_with(ASIDE)))
    }

    /// Who the directory belongs to, if it belongs to anybody.
    pub fn identity(&self) -> Option<Identity> {
        self.0.identity.lock().as_ref().map(|(_, identity)| identity.clone())
    }

    /// Gives a new directory to a node. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Identity`] if it belongs to somebody already or the name is too long, [`Error::Disk`].
    pub fn create(&self, identity: Identity) -> Result<(), Error> {
        let mut slot = self.0.identity.lock();
        let refuse = |what: &str| Error::Identity { path: self.0.path.clone(), what: what.into() };
        if slot.is_some() {
            return Err(refuse("the directory already belongs to a node"));
        }
        if identity.name.len() > identity::NAME_BYTES_MAX {
            return Err(refuse("the name of the node is too long"));
        }
        let identity = Identity { format_version: identity::FORMAT, ..identity };
        identity::save(&self.0.path, 1, &identity)?;
        *slot = Some((1, identity));
        Ok(())
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Fails with [`Error::Gone`] unless the directory, its lock, its identity and its log are still those that are in use.
    /// It blocks, so it is for disk actors.
    pub(crate) fn check_place(&self, log: Number) -> Result<(), Error> {
        let Inner { path, lock, number, .. } = &*self.0;
        let gone = |what: String| Error::Gone { path: path.clone(), what };
        let lock = lock.metadata().map(|meta| number_of(&meta)).ok();
        let wanted = [("it", path.clone(), Some(*number)), (LOCK, path.join(LOCK), lock)];
        let log = ("log/data.mdb", self.log_path().join(DATA_FILE), Some(log));
        for (name, path, wanted) in wanted.into_iter().chain([log]) {
            match fs::metadata(&path) {
                Ok(meta) if Some(number_of(&meta)) == wanted => {}
                Ok(_) => return Err(gone(format!("{name} is another one now"))),
                Err(e) if e.kind() == ErrorKind::NotFound => return Err(gone(format!("{name} is gone"))),
                Err(e) => return Err(gone(format!("{name} cannot be looked at: {e}"))),
            }
        }
        match self.identity().is_none() || identity::is_there(path) {
            true => Ok(()),
            false => Err(gone("its identity is gone".into())),
        }
    }

    /// Which file the log is in.
    pub(crate) fn log_number(&self) -> Result<Number, Error> {
        let path = self.log_path().join(DATA_FILE);
        fs::metadata(&path).map(|meta| number_of(&meta)).map_err(|e| Error::io("looking at", &path, &e))
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.0.path.join(LOG)
    }

    /// Where the state of a shard is in this generation: each snapshot that is installed makes a new one, beside the one before.
    pub(crate) fn state_path(&self, shard: u32, generation: u64) -> PathBuf {
        self.0.path.join(match generation {
            0 => format!("{STATE}{shard}"),
            _ => format!("{STATE}{shard}.{generation}"),
        })
    }

    /// The generation of the shard's state that counts: the highest that has its name. 0 if there is none.
    pub(crate) fn state_generation(&self, shard: u32) -> Result<u64, Error> {
        let states = names(&self.0.path)?.into_iter().filter_map(|name| state_of(&name));
        Ok(states.filter(|(of, _)| *of == shard).map(|(_, generation)| generation).max().unwrap_or(0))
    }

    /// Removes what is beside the shard's state: a generation that was replaced, and one that did not get its name.
    pub(crate) fn remove_other_states(&self, shard: u32, generation: u64) -> Result<(), Error> {
        let kept = self.state_path(shard, generation);
        let (plain, dotted) = (format!("{STATE}{shard}"), format!("{STATE}{shard}."));
        for name in names(&self.0.path)?.into_iter().filter(|n| *n == plain || n.starts_with(&dotted)) {
            let path = self.0.path.join(name);
            if path != kept {
                fs::remove_dir_all(&path).map_err(|e| Error::io("removing", &path, &e))?;
            }
        }
        Ok(())
    }

    pub(crate) fn owner(&self) -> Result<Identity, Error> {
        self.identity().ok_or_else(|| Error::Identity {
            path: self.0.path.clone(),
            what: "the directory belongs to no node yet: create it first".into(),
        })
    }

    /// From now on a missing log is amnesia. Called when the log exists and before anything is promised.
    pub(crate) fn mark_voted(&self) -> Result<(), Error> {
        let mut slot = self.0.identity.lock();
        let Some((sequence, identity)) = slot.as_mut() else { return self.owner().map(drop) };
        if !identity.voted {
            let marked = Identity { voted: true, ..identity.clone() };
            identity::save(&self.0.path, *sequence + 1, &marked)?;
            (*sequence, *identity) = (*sequence + 1, marked);
        }
        Ok(())
    }

    /// Remembers damage that was met while the node ran: a restart may not come across it before it has promised something.
    pub(crate) fn mark_damaged(&self, error: &Error) {
        let path = self.0.path.join(DAMAGED);
        let what = match error {
            Error::Corrupt { place, what } => format!("{place}: {what}"),
            other => other.to_string(),
        };
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(what.as_bytes())?;
            file.sync_all()
        });
        // The process ends all the same; without the mark it may start again and meet the damage again.
        if let Err(e) =
            written.map_err(|e| Error::io("writing", &path, &e)).and_then(|()| sync_dir(&self.0.path))
        {
            tracing::error!("the damage could not be noted: {e}");
        }
    }

    /// Moves everything in `path` into a directory beside it called `aside-<n>`, so that the node can come back as a
    /// new member, and keeps the evidence. Returns where it went. It is never called without being asked for.
    ///
    /// # Errors
    /// [`Error::InUse`] while a process has it open, [`Error::Disk`].
    pub fn set_aside(path: &Path) -> Result<PathBuf, Error> {
        let _lock = take_lock(path)?;
        let names = names(path)?;
        let taken =
            names.iter().filter_map(|n| n.strip_prefix(ASIDE)?.parse::<u32>().ok()).max().unwrap_or(0);
        let aside = path.join(format!("{ASIDE}{}", taken + 1));
        fs::create_dir(&aside).map_err(|e| Error::io("making", &aside, &e))?;
        // The identity goes last: until then a crash leaves a directory that still says whose it is.
        let (last, first): (Vec<_>, Vec<_>) = names
            .into_iter()
            .filter(|n| n != LOCK && !n.starts_with(ASIDE))
            .partition(|n| n.starts_with("identity."));
        for name in first.into_iter().chain(last) {
            let from = path.join(&name);
            fs::rename(&from, aside.join(&name)).map_err(|e| Error::io("moving", &from, &e))?;
        }
        sync_dir(&aside)?;
        sync_dir(path)?;
        Ok(aside)
    }
}

/// A file, by its device and its number there.
pub(crate) type Number = (u64, u64);

fn number_of(meta: &Metadata) -> Number {
    (meta.dev(), meta.ino())
}

/// Makes the directory, and those above it, where they are not there. Their names are on disk when this returns: whoever has
/// a directory that outlives a loss of power may promise something in it.
fn make(path: &Path) -> Result<(), Error> {
    let above = |path: &Path| match path.parent() {
        Some(above) if above != Path::new("") => above.to_owned(),
        _ => PathBuf::from("."),
    };
    let new: Vec<&Path> =
        path.ancestors().take_while(|path| *path != Path::new("") && !path.exists()).collect();
    fs::create_dir_all(path).map_err(|e| Error::io("making", path, &e))?;
    new.into_iter().try_for_each(|made| sync_dir(&above(made)))
}

fn take_lock(path: &Path) -> Result<File, Error> {
    let at = path.join(LOCK);
    let failed = |e: std::io::Error| Error::io("locking", &at, &e);
    let lock = File::options().create(true).truncate(false).write(true).open(&at).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn names(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |e: std::io::Error| Error::io("listing", path, &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The shard and the generation of a state that has its name; what is still called `.new` never counted.
fn state_of(name: &str) -> Option<(u32, u64)> {
    let rest = name.strip_prefix(STATE)?;
    match rest.split_once('.') {
        None => Some((rest.parse().ok()?, 0)),
        Some((shard, generation)) => Some((shard.parse().ok()?, generation.parse().ok()?)),
    }
}

/// The environments that count. What was replaced does not: of it anything may be gone.
fn environments(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut states = BTreeMap::new();
    let mut found = Vec::new();
    for name in names(path)? {
        if name == LOG {
            found.push(path.join(name));
        } else if let Some((shard, generation)) = state_of(&name) {
            let newest = states.entry(shard).or_insert_with(|| (generation, name.clone()));
            if generation >= newest.0 {
                *newest = (generation, name);
            }
        }
    }
    found.extend(states.into_values().map(|(_, name)| path.join(name)));
    Ok(found)
}

fn check_log(path: &Path, identity: &Identity) -> Result<(), Error> {
    let amnesia =
        |what: &str| Error::Amnesia { path: path.to_owned(), node: identity.node_id, what: what.to_owned() };
    if !identity.voted {
        return Ok(());
    }
    match fs::metadata(path.join(LOG).join(DATA_FILE)) {
        Ok(data) if data.len() == 0 => Err(amnesia("log/data.mdb is empty")),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(amnesia("log/data.mdb is missing")),
        Err(e) => Err(Error::io("looking at", &path.join(LOG), &e)),
    }
}
