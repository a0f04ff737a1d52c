//! A partition that comes and goes.

use std::time::Duration;

use super::shape::cuts;
use super::{Site, cut, mend};
use crate::faults::Work;
use crate::plan::Shape;

/// See the module.
pub(in crate::faults) struct Flap {
    shape: Shape,
    every: Duration,
    next: Duration,
    /// What is cut at the moment.
    cuts: Vec<(usize, usize)>,
}

impl Flap {
    pub(in crate::faults) fn new(shape: Shape, every: Duration) -> Self {
        Flap { shape, every, next: Duration::ZERO, cuts: Vec::new() }
    }
}

impl Work for Flap {
    fn begin(&mut self, _site: &mut Site<'_>) -> String {
        format!("{:?} every {} ms", self.shape, self.every.as_millis())
    }

    fn tick(&mut self, site: &mut Site<'_>) {
        if site.elapsed() < self.next {
            return;
        }
        self.next = site.elapsed() + self.every;
        if self.cuts.is_empty() {
            (self.cuts, _) = cuts(&self.shape, site);
            cut(site, &self.cuts);
        } else {
            mend(site, &std::mem::take(&mut self.cuts));
        }
    }

    fn end(&mut self, site: &mut Site<'_>) {
        mend(site, &self.cuts);
    }
}
