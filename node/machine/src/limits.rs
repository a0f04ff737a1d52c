//! Every bound of the machine, with its unit in its name.

/// Longest key of a row, in bytes; LMDB allows 511.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest name of a queue or subscription, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest name of a producer session, in bytes.
pub const PRODUCER_NAME_BYTES_MAX: usize = 128;
/// Length of what names the holder of a producer session, in bytes.
pub const PRODUCER_HOLDER_BYTES: usize = 16;
/// Length of a consumer session's name, in bytes.
pub const SESSION_NAME_BYTES: usize = 16;
/// Longest display name of a consumer, in bytes.
pub const CONSUMER_LABEL_BYTES_MAX: usize = 128;

/// Longest message id, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 256;
/// Longest message key, in bytes.
pub const MESSAGE_KEY_BYTES_MAX: usize = 1024;
/// Longest subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Most headers of a message.
pub const HEADERS_MAX: usize = 64;
/// Headers of a message with their names, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Highest priority of a message.
pub const PRIORITY_MAX: u32 = 9;
/// Longest delay of a message, in milliseconds.
pub const DELAY_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
/// Longest time to live of a message, in milliseconds.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
/// Longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most messages in one publish.
pub const PUBLISH_MESSAGES_MAX: usize = 4096;
/// Longest encoded publish, in bytes.
pub const PUBLISH_BYTES_MAX: usize = BODY_BYTES_MAX + 128 * 1024;

/// Most queues in a namespace.
pub const QUEUES_MAX: u64 = 100_000;
/// Names of deleted queues in a namespace, of which each is remembered by itself; see `former.rs`.
pub const FORMER_NAMES_MAX: u64 = 100_000;
/// Most subscriptions of a queue.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Most routes of a queue.
pub const ROUTES_MAX: usize = 16;
/// Most queues of a namespace whose routes begin with the same token, wildcards being tokens too.
pub const ROUTE_QUEUES_MAX: u64 = 1024;
/// Most headers that a filter names.
pub const FILTER_HEADERS_MAX: usize = 16;
/// Longest encoded filter, in bytes: it is read for each publish, and shown in each listing.
pub const FILTER_BYTES_MAX: usize = 4096;
/// Most producer sessions in a namespace.
pub const PRODUCERS_MAX: u64 = 100_000;
/// Most receipts that a producer session may leave unacknowledged, in messages.
pub const PRODUCER_UNACKED_MAX: u64 = 1 << 20;
/// Most consumers attached to a subscription.
pub const CONSUMERS_MAX: u32 = 4096;
/// Largest credit of a consumer, in messages.
pub const CREDIT_MAX: u32 = 65_536;
/// Largest credit of a consumer where leases go back together, in messages: where the order is `total`, or several messages of a key may be leased at once.
pub const TOTAL_CREDIT_MAX: u32 = 1024;
/// Most ranges in one settle.
pub const SETTLE_RANGES_MAX: usize = 512;

/// Most messages that the ranges of one settle name together: each may be work of its own, and a settle is carried out whole.
pub const SETTLE_MESSAGES_MAX: u64 = 512;

/// Most requirements of a transaction, most batches that it publishes, and most keys that it writes.
pub const TRANSACTION_PARTS_MAX: usize = 256;
/// Most messages that a transaction publishes.
pub const TRANSACTION_MESSAGES_MAX: usize = 1024;
/// Most subscriptions that the publishes of a transaction reach: for each batch, those of each queue that messages of it get into.
pub const TRANSACTION_REACH_MAX: u64 = 512;
/// How far the numbers of a session's transactions may run ahead of the receipts that it has acknowledged.
pub const TRANSACTIONS_UNACKED_MAX: u64 = 4096;
/// Longest key of the state, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 200;
/// Longest value of the state, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most keys in the state of a namespace.
pub const STATE_KEYS_MAX: u64 = 1_000_000;
/// Keys and values in the state of a namespace, in bytes.
pub const STATE_BYTES_MAX: u64 = 1 << 30;

/// Length of a lease, in milliseconds.
pub const LEASE_MS_MIN: u64 = 100;
/// See [`LEASE_MS_MIN`].
pub const LEASE_MS_MAX: u64 = 12 * 60 * 60 * 1000;
/// See [`LEASE_MS_MIN`].
pub const LEASE_MS_DEFAULT: u64 = 30_000;
/// By how many percent a backoff may be shorter than it would be.
pub const JITTER_PERCENT_MAX: u32 = 100;
/// See [`JITTER_PERCENT_MAX`].
pub const JITTER_PERCENT_DEFAULT: u32 = 20;
/// Messages of one key that may be leased at once.
pub const PER_KEY_INFLIGHT_MAX: u32 = 256;
/// Longest reason of a failure, in bytes.
pub const REASON_BYTES_MAX: usize = 256;
/// Failures of a message that are remembered.
pub const FAILURES_MAX: usize = 8;
/// Backoff and retry delay, in milliseconds.
pub const BACKOFF_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// Backoff after the first failure, in milliseconds.
pub const BACKOFF_FIRST_MS_DEFAULT: u64 = 1_000;
/// The longest backoff, in milliseconds.
pub const BACKOFF_LAST_MS_DEFAULT: u64 = 60_000;
/// How long a consumer session outlives its stream, in milliseconds.
pub const SESSION_TIMEOUT_MS_MIN: u64 = 1_000;
/// See [`SESSION_TIMEOUT_MS_MIN`].
pub const SESSION_TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;
/// See [`SESSION_TIMEOUT_MS_MIN`].
pub const SESSION_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// How long a producer session is remembered without use, in milliseconds.
pub const PRODUCER_TTL_MS_MIN: u64 = 1_000;
/// See [`PRODUCER_TTL_MS_MIN`].
pub const PRODUCER_TTL_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// See [`PRODUCER_TTL_MS_MIN`].
pub const PRODUCER_TTL_MS_DEFAULT: u64 = 60 * 60 * 1000;

/// Rows that one entry touches before it leaves what it may leave to the next: some 4 to 8 ms of one core. What it has begun by then it goes
/// through with.
pub const ENTRY_ROWS: u64 = 8192;
/// Weight of an entry's commands, as [`crate::weight::weight()`] says it, above which it takes no more; a single command may weigh more.
pub const ENTRY_WEIGHT: u64 = 24_576;
/// Rows above which a command is refused that is carried out whole or not at all, and whose work follows from the state: a transaction, and what a publish looks up.
pub const COMMAND_ROWS_MAX: u64 = 16_384;
/// So many bytes of a row count as another row.
pub const LONG_ROW_BYTES: usize = 4096;
/// Rows that a tick touches in any case to sweep what deleted queues left, however much else there is to do.
pub const SWEEP_ROWS_MIN: u64 = 256;

/// Rows that an entry touches in any case to hand out messages, however much else there is to do.
pub const ASSIGN_ROWS_MIN: u64 = 2048;

/// Receipts that a publish forgets in any case, of those that its producer has: more are left to the next.
pub const RECEIPTS_DROPPED_MIN: u64 = 64;

/// Rows that a publish, or an update of a queue, touches in any case to let go of what is beyond the bounds of what is retained.
pub const RETAIN_ROWS_MIN: u64 = 2048;

/// Most leases that are held while a queue is purged, in all of its subscriptions: each lease by itself where the order is `key`, or where it failed before, and otherwise
/// each stretch of positions. They go along at once.
pub const PURGE_HELD_MAX: u64 = 2048;

/// Highest id of a node.
pub const NODE_IDS_MAX: u64 = u32::MAX as u64;

/// Most rows that one peek looks at before it says where to go on.
pub const PEEK_ROWS_MAX: usize = 10_000;
/// Most encoded bytes of messages that one peek returns, but for a single message that is longer.
pub const PEEK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most messages that one peek returns, and most queues that one listing does.
pub const PAGE_MAX: u32 = 1000;

/// Longest request of a client that is read, in bytes: the largest publish, and what stands around it.
pub const REQUEST_BYTES_MAX: usize = PUBLISH_BYTES_MAX + 1024 * 1024;
/// Longest encoded command, in bytes. One that came in a request that could be read is never longer.
pub const COMMAND_BYTES_MAX: usize = REQUEST_BYTES_MAX + 128 * 1024;
/// What an entry has besides its commands, in bytes.
pub const ENTRY_HEAD_BYTES_MAX: usize = 64;
/// Longest entry of the log, in bytes. Whoever proposes keeps to it, because peers take nothing that is much longer.
pub const ENTRY_BYTES_MAX: usize = COMMAND_BYTES_MAX + ENTRY_HEAD_BYTES_MAX;

const _: () = assert!(PUBLISH_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(ENTRY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(FILTER_HEADERS_MAX * 2 < FILTER_BYTES_MAX && SUBJECT_BYTES_MAX < FILTER_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX < PUBLISH_BYTES_MAX);
const _: () = assert!(LEASE_MS_MIN <= LEASE_MS_DEFAULT && LEASE_MS_DEFAULT <= LEASE_MS_MAX);
const _: () = assert!(BACKOFF_FIRST_MS_DEFAULT <= BACKOFF_LAST_MS_DEFAULT);
