//! From values to bodies and back.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Turns values of one type into bodies and back.
pub trait Codec<T>: Clone + Send + Sync + 'static {
    /// MIME type of the bodies; empty means unspecified.
    fn content_type(&self) -> &str;

    /// Encodes a value.
    ///
    /// # Errors
    /// Says what is wrong with the value; it is not sent.
    fn encode(&self, value: &T) -> Result<Bytes, String>;

    /// Decodes a body.
    ///
    /// # Errors
    /// Says what is wrong with the body; its message is returned with `retry`.
    fn decode(&self, body: Bytes) -> Result<T, String>;
}

/// JSON, for every type that serde knows. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&self, value: &T) -> Result<Bytes, String> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn decode(&self, body: Bytes) -> Result<T, String> {
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

/// Bodies as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn content_type(&self) -> &'static str {
        ""
    }

    fn encode(&self, value: &Bytes) -> Result<Bytes, String> {
        Ok(value.clone())
    }

    fn decode(&self, body: Bytes) -> Result<Bytes, String> {
        Ok(body)
    }
}
