//! The format string of `consume --format`: parsed once, then written per record.

use std::io::{self, Write};

/// One record's parts, as the format sees them.
pub(crate) struct RecordView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// A parsed format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

impl Format {
    /// Parses `%p %o %k %K %v %s %S %h %t %T %%` and the escapes `\n \r \t \0 \\ \xHH`.
    ///
    /// # Errors
    ///
    /// An unknown sequence, or one cut off at the end, is named.
    pub(crate) fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match placeholder(chars.next())? {
                    Some(piece) => {
                        if !literal.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut literal)));
                        }
                        pieces.push(piece);
                    }
                    None => literal.push(b'%'),
                },
                '\\' => literal.push(escape(&mut chars)?),
                c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Format(pieces))
    }

    /// Writes one record. `null` stands for an absent key, value or header value, whose lengths are -1.
    pub(crate) fn write(&self, out: &mut impl Write, record: &RecordView<'_>, null: &str) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp_ms.unwrap_or(-1))?,
                Piece::Key => out.write_all(record.key.unwrap_or(null.as_bytes()))?,
                Piece::KeyLength => write_length(out, record.key)?,
                Piece::Value => out.write_all(record.value.unwrap_or(null.as_bytes()))?,
                Piece::ValueLength => write_length(out, record.value)?,
                Piece::Headers => write_headers(out, record, null)?,
            }
        }
        Ok(())
    }
}

fn write_length(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => out.write_all(b"-1"),
    }
}

fn write_headers(out: &mut impl Write, record: &RecordView<'_>, null: &str) -> io::Result<()> {
    for (at, (key, value)) in record.headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key.as_bytes())?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or(null.as_bytes()))?;
    }
    Ok(())
}

/// `None` is a literal percent sign.
fn placeholder(c: Option<char>) -> Result<Option<Piece>, String> {
    Ok(Some(match c {
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('K') => Piece::KeyLength,
        Some('v' | 's') => Piece::Value,
        Some('S') => Piece::ValueLength,
        Some('h') => Piece::Headers,
        Some('t') => Piece::Topic,
        Some('T') => Piece::Timestamp,
        Some('%') => return Ok(None),
        Some(c) => return Err(format!("%{c} is not known; there are %p %o %k %K %v %s %S %h %t %T and %%")),
        None => return Err("the format ends in a lone %; write %% for a percent sign".to_owned()),
    }))
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            match digits.len() {
                2 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                    u8::from_str_radix(&digits, 16).map_err(|error| error.to_string())
                }
                _ => Err(format!("\\x{digits} needs two hexadecimal digits")),
            }
        }
        Some(c) => Err(format!("\\{c} is not known; there are \\n \\r \\t \\0 \\\\ and \\xHH")),
        None => Err("the format ends in a lone \\; write \\\\ for a backslash".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, RecordView};

    fn written(format: &str, record: &RecordView<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(&mut out, record, "NULL").unwrap();
        out
    }

    fn record<'a>() -> RecordView<'a> {
        RecordView {
            topic: "orders",
            partition: 7,
            offset: 42,
            timestamp_ms: Some(1_700_000_000_000),
            key: Some(b"k"),
            value: Some(&[0xff, b'v']),
            headers: vec![("a", Some(b"1")), ("b", None)],
        }
    }

    #[test]
    fn every_placeholder_and_escape_is_written() {
        assert_eq!(
            written(r"%t/%p@%o %T [%k:%K] %S %h\n", &record()),
            b"orders/7@42 1700000000000 [k:1] 2 a=1,b=NULL\n"
        );
        assert_eq!(written(r"%v|%s", &record()), b"\xffv|\xffv");
        assert_eq!(written(r"100%%\t\\\x00\xfe\0\r", &record()), b"100%\t\\\x00\xfe\x00\r");
    }

    #[test]
    fn null_is_visible_and_differs_from_empty() {
        let null = RecordView { key: None, value: None, timestamp_ms: None, headers: vec![], ..record() };
        assert_eq!(written("%k %K %v %S %T[%h]", &null), b"NULL -1 NULL -1 -1[]");
        let empty = RecordView { key: Some(b""), value: Some(b""), ..record() };
        assert_eq!(written("%k %K %v %S", &empty), b" 0  0");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (format, named) in [
            ("%q", "%q"),
            ("50%", "lone %"),
            (r"\q", r"\q"),
            ("\\", "lone \\"),
            (r"\x4", r"\x4"),
            (r"\xgg", r"\xgg"),
        ] {
            let error = Format::parse(format).unwrap_err();
            assert!(error.contains(named), "{format}: {error}");
        }
    }
}
