//! Randomness, as a trait: the other place that touches the system's sources of nondeterminism.

/// Draws the ids that must not repeat.
pub trait Random: Send + Sync + 'static {
    /// Sixteen random bytes.
    fn id(&self) -> [u8; 16];
}

/// The system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[allow(clippy::disallowed_methods)] // the one place
    fn id(&self) -> [u8; 16] {
        rand::random()
    }
}
