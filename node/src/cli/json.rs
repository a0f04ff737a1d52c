//! Messages as JSON objects; their keys are part of the interface.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Puts `bytes` under `name` if they are UTF-8, else under `name` + `_base64`.
pub(super) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// Puts a key; none is `null`.
pub(super) fn put_key(object: &mut Map<String, Value>, key: &[u8]) {
    if key.is_empty() {
        object.insert("key".into(), Value::Null);
    } else {
        put_bytes(object, "key", key);
    }
}

/// Headers as an object. Of several with one name the last counts; values that are not UTF-8 stand under
/// `name_base64`.
pub(super) fn headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Value {
    let mut object = Map::new();
    for (name, value) in headers {
        put_bytes(&mut object, name, value);
    }
    Value::Object(object)
}

/// Text that stands in for bytes in a table.
pub(super) fn printable(bytes: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(chars_max).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(chars_max).is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_stand_under_another_key() {
        let mut object = Map::new();
        put_bytes(&mut object, "body", "ä".as_bytes());
        put_bytes(&mut object, "other", &[0xff, 0]);
        put_key(&mut object, b"");
        assert_eq!(Value::Object(object).to_string(), r#"{"body":"ä","key":null,"other_base64":"/wA="}"#);
    }

    #[test]
    fn tables_show_no_control_characters() {
        assert_eq!(printable(b"a\x1b[31mb\n", 20), "a·[31mb·");
        assert_eq!(printable(b"abcdef", 3), "abc…");
    }
}
