//! The bugs that can be planted.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)*) => {
        /// A bug that the product must not have and that can be planted in a simulation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug { $($(#[doc = $doc])+ $variant,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$variant),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$variant => $name),* }
            }
        }
    };
}

bugs! {
    /// A write to the log is reported as durable before it is synced.
    AckBeforeSync = "ack-before-sync";
}

impl Bug {
    /// The bug of that name.
    pub fn from_name(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
