//! The shapes of JSON.
