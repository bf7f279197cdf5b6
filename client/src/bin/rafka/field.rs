//! Record bytes as JSON: keys, values and headers are bytes, and JSON has none.

use serde_json::{Value, json};

/// The one rule for bytes in JSON: absent (null in Kafka) is `null`, valid UTF-8 is a string, and anything else is
/// `{"base64": "..."}` in the standard alphabet with padding. So nothing is lost and the three cannot be confused.
pub(crate) fn json_bytes(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => json!({ "base64": base64(bytes) }),
        },
    }
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| usize::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                text.push(char::from(ALPHABET[bits >> (18 - 6 * digit) & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, json_bytes};
    use serde_json::json;

    #[test]
    fn base64_agrees_with_the_vectors_of_rfc_4648() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn null_empty_text_and_bytes_stay_apart() {
        assert_eq!(json_bytes(None), json!(null));
        assert_eq!(json_bytes(Some(b"")), json!(""));
        assert_eq!(json_bytes(Some("grün".as_bytes())), json!("grün"));
        assert_eq!(json_bytes(Some(&[0xff])), json!({ "base64": "/w==" }));
    }
}
