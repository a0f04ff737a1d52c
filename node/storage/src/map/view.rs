//! Read transactions of an environment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use heed::{AnyTls, RoTxn, WithoutTls};
use parking_lot::RwLockReadGuard;

use super::Map;

/// A short read transaction.
pub(crate) struct View<'a> {
    // Dropped in this order: the transaction ends before the gate opens.
    pub(super) txn: RoTxn<'a, WithoutTls>,
    pub(super) _gate: RwLockReadGuard<'a, ()>,
}

impl View<'_> {
    pub fn txn(&self) -> &RoTxn<'_, AnyTls> {
        &self.txn
    }
}

/// A short read transaction; see [`Map::held_view`].
pub(crate) struct HeldView(pub(super) RoTxn<'static, WithoutTls>);

impl HeldView {
    pub fn txn(&self) -> &RoTxn<'_, AnyTls> {
        &self.0
    }
}

/// A long read transaction.
pub(crate) struct LongView {
    pub(super) txn: Option<RoTxn<'static, WithoutTls>>,
    pub map: Arc<Map>,
}

impl LongView {
    pub fn txn(&self) -> &RoTxn<'_, AnyTls> {
        self.txn.as_ref().expect("it is set before a view is given out and taken only when it is dropped")
    }
}

impl Drop for LongView {
    fn drop(&mut self) {
        self.txn = None;
        self.map.long.fetch_sub(1, Ordering::AcqRel);
    }
}
