//! Raising the active version. Whether every member reads the next one is the leader's to see to before it proposes this; a
//! program that does not has stopped at the entry.

use super::Done;
use crate::command::RaiseVersion;
use crate::reply::Reply;
use crate::store::Store;
use crate::tables::key;
use crate::tables::row;
use crate::tx::Tx;
use crate::versions;

pub(crate) fn raise_version<S: Store>(tx: &mut Tx<'_, S>, command: RaiseVersion) -> Done {
    let active = versions::active(&tx.rows)?;
    if command.to > active {
        tx.rows.put(&key::version(), row::of_u32(command.to))?;
    }
    Ok(Reply::VersionActive(active.max(command.to)))
}
