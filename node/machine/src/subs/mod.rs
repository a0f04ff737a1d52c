//! What happens to messages inside a subscription, between publish and gone: [`look`] takes them in, [`assign`] leases them,
//! [`back`] takes them back, [`park`] sets them aside, [`leave`] lets them go. [`runs`] keeps where they stand, [`lanes`] the
//! order inside each key; [`room`] and [`retain`] say what has to leave.

pub(crate) mod assign;
pub(crate) mod back;
pub(crate) mod expire;
pub(crate) mod failures;
pub(crate) mod filter;
pub(crate) mod lanes;
pub(crate) mod leave;
pub(crate) mod look;
pub(crate) mod park;
pub(crate) mod retain;
pub(crate) mod room;
pub(crate) mod runs;
