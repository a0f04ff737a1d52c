//! Some hosts do not see some others.

use super::shape::cuts;
use super::{Site, cut, mend};
use crate::faults::Work;
use crate::plan::Shape;

/// See the module.
pub(in crate::faults) struct Partition {
    shape: Shape,
    cuts: Vec<(usize, usize)>,
}

impl Partition {
    pub(in crate::faults) fn new(shape: Shape) -> Self {
        Partition { shape, cuts: Vec::new() }
    }
}

impl Work for Partition {
    fn begin(&mut self, site: &mut Site<'_>) -> String {
        let said;
        (self.cuts, said) = cuts(&self.shape, site);
        cut(site, &self.cuts);
        said
    }

    fn end(&mut self, site: &mut Site<'_>) {
        mend(site, &self.cuts);
    }
}
