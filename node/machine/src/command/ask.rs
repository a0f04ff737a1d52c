//! Which command has which reply.

use super::{
    Attach, CloseProducer, CreateQueue, CreateSub, Credit, DeleteQueue, DeleteSub, Detach, OpenProducer,
    Pause, Publish, Purge, Reschedule, Seek, Settle, Transact, Unpark, UpdateQueue, UpdateSub, Verb,
};
use crate::reply::{
    Attached, PositionRun, ProducerOpened, QueueCreated, Reply, Settled, SubCreated, Transacted, Unparked,
};

/// A command with a reply of its own.
pub trait Ask: Into<Verb> {
    /// What it is answered when it took effect.
    type Reply;

    /// Takes its reply apart; `None` for the reply of another command.
    fn reply(reply: Reply) -> Option<Self::Reply>;
}

macro_rules! asks {
    ($($command:ident => $of:ty: $pattern:pat => $reply:expr;)*) => {
        $(
            impl From<$command> for Verb {
                fn from(command: $command) -> Self {
                    Self::$command(command)
                }
            }

            impl Ask for $command {
                type Reply = $of;

                fn reply(reply: Reply) -> Option<Self::Reply> {
                    match reply {
                        $pattern => Some($reply),
                        _ => None,
                    }
                }
            }
        )*
    };
}

asks! {
    CreateQueue => QueueCreated: Reply::QueueCreated { settings, created, created_at_ms, queue }
        => QueueCreated { settings, created, created_at_ms, queue };
    UpdateQueue => u64: Reply::Updated { revision } => revision;
    DeleteQueue => (): Reply::Done => ();
    Purge => (): Reply::Done => ();
    Reschedule => (): Reply::Done => ();
    CreateSub => SubCreated: Reply::SubCreated { settings, created } => SubCreated { settings, created };
    UpdateSub => u64: Reply::Updated { revision } => revision;
    DeleteSub => (): Reply::Done => ();
    Pause => (): Reply::Done => ();
    Seek => u64: Reply::Sought { position } => position;
    Unpark => Unparked: Reply::Unparked { messages, job } => Unparked { messages, job };
    OpenProducer => ProducerOpened: Reply::ProducerOpened(opened) => opened;
    CloseProducer => (): Reply::Done => ();
    Publish => Vec<PositionRun>: Reply::Published { positions } => positions;
    Transact => Transacted: Reply::Transacted(done) => done;
    Attach => Attached: Reply::Attached(attached) => attached;
    Credit => (): Reply::Done => ();
    Detach => (): Reply::Done => ();
    Settle => Settled: Reply::Settled(settled) => settled;
}
