//! From values to bodies and back.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Turns values of one type into bodies and back.
///
/// [`Json`], [`Protobuf`] and [`Raw`] are here; an encoding of your own is a few lines:
///
/// ```
/// use bytes::Bytes;
/// use quorate_client::{Client, Codec};
///
/// /// Lines of text.
/// #[derive(Clone)]
/// struct Text;
///
/// impl Codec<String> for Text {
///     fn content_type(&self) -> &str {
///         "text/plain"
///     }
///     fn encode(&self, value: &String) -> Result<Bytes, String> {
///         Ok(Bytes::from(value.clone()))
///     }
///     fn decode(&self, body: Bytes) -> Result<String, String> {
///         String::from_utf8(body.into()).map_err(|error| error.to_string())
///     }
/// }
///
/// # fn example(client: &Client) {
/// let notes = client.queue_with::<String, _>("notes", Text);
/// # }
/// ```
pub trait Codec<T>: Clone + Send + Sync + 'static {
    /// MIME type of the bodies, which travels with each message; empty means unspecified.
    fn content_type(&self) -> &str;

    /// Whether bodies of this MIME type are for this codec: its own, or unspecified. What is not is never decoded, since some encodings read
    /// anything as something.
    fn accepts(&self, content_type: &str) -> bool {
        let own = essence(self.content_type());
        content_type.is_empty() || own.is_empty() || essence(content_type).eq_ignore_ascii_case(own)
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// Says what is wrong with the value; it is not sent.
    fn encode(&self, value: &T) -> Result<Bytes, String>;

    /// Decodes a body.
    ///
    /// # Errors
    /// Says what is wrong with the body; its message is handed over as [`crate::Undecodable`].
    fn decode(&self, body: Bytes) -> Result<T, String>;
}

/// A MIME type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// JSON, for every type that serde knows. The default. Accepts what ends in `+json`, too.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Order { id: u64 }
/// # use quorate_client::{Client, Error, Json};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let orders = client.queue::<Order>("orders"); // Json is the default
/// let same = client.queue_with::<Order, _>("orders", Json);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn accepts(&self, content_type: &str) -> bool {
        let essence = essence(content_type);
        essence.is_empty()
            || essence.eq_ignore_ascii_case("application/json")
            || essence.to_ascii_lowercase().ends_with("+json")
    }

    fn encode(&self, value: &T) -> Result<Bytes, String> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn decode(&self, body: Bytes) -> Result<T, String> {
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

/// Protocol Buffers, for the messages that prost makes.
///
/// A message of another type may well be read as one of this: a queue should hold one type, or a `oneof` of several.
///
/// ```no_run
/// # #[derive(Clone, PartialEq, prost::Message)] struct Order { #[prost(uint64, tag = "1")] id: u64 }
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let orders = client.protobuf_queue::<Order>("orders");
/// orders.producer().open().await?.publish(Order { id: 7 }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Protobuf;

impl<T: prost::Message + Default> Codec<T> for Protobuf {
    fn content_type(&self) -> &'static str {
        "application/protobuf"
    }

    fn encode(&self, value: &T) -> Result<Bytes, String> {
        Ok(value.encode_to_vec().into())
    }

    fn decode(&self, body: Bytes) -> Result<T, String> {
        T::decode(body).map_err(|error| error.to_string())
    }
}

/// Bodies as they are, of whatever type.
///
/// ```no_run
/// # use bytes::Bytes;
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let images = client.raw_queue("images");
/// images.producer().open().await?.publish(Bytes::from_static(b"GIF89a")).await?;
/// # Ok(())
/// # }
/// ```
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Order {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(string, tag = "2")]
        item: String,
    }

    #[test]
    fn values_survive_the_way_there_and_back() {
        let order = Order { id: 7, item: "book".into() };
        let body = Codec::<Order>::encode(&Protobuf, &order).expect("an order");
        assert_eq!(Codec::<Order>::decode(&Protobuf, body), Ok(order));
        assert!(Codec::<Order>::decode(&Protobuf, Bytes::from_static(b"\xff")).is_err());
        let pair = ("a".to_owned(), 3_u32);
        let body = Codec::<(String, u32)>::encode(&Json, &pair).expect("a pair");
        assert_eq!(Codec::<(String, u32)>::decode(&Json, body), Ok(pair));
    }

    #[test]
    fn what_is_meant_for_another_codec_is_not_accepted() {
        let json = |content_type| Codec::<String>::accepts(&Json, content_type);
        assert!(json("") && json("application/json; charset=utf-8") && json("application/cloudevents+JSON"));
        assert!(!json("application/protobuf") && !json("text/plain"));
        let protobuf = |content_type| Codec::<Order>::accepts(&Protobuf, content_type);
        assert!(protobuf("") && protobuf("Application/Protobuf") && !protobuf("application/json"));
        assert!(Codec::<Bytes>::accepts(&Raw, "image/png"));
    }
}
