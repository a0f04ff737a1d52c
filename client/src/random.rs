//! Where the client's randomness comes from: session names and the jitter of retries, nothing else.

/// A source of random bits. The default asks the operating system; a simulation gives a seeded one.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Random};
/// # fn example() -> Result<(), Error> {
/// struct Counted(std::sync::atomic::AtomicU8);
///
/// impl Random for Counted {
///     fn fill(&self, bytes: &mut [u8]) {
///         bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
///     }
/// }
///
/// // The same session names in each run of a test; never in production.
/// let client = Client::builder().random(Counted(0.into())).build()?;
/// # Ok(())
/// # }
/// ```
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's randomness.
///
/// ```no_run
/// # use quorate_client::{Client, Error, SystemRandom};
/// # async fn example() -> Result<(), Error> {
/// let client = Client::builder().random(SystemRandom).build()?; // the default
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        use rand::TryRng as _;
        rand::rngs::SysRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
    }
}

/// A name that nobody else has: 128 random bits in hexadecimal.
pub(crate) fn name(random: &dyn Random) -> String {
    format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
}
