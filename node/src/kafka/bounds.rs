//! Every length in a request checked against the bytes that remain, before the codec sees the frame.
//!
//! The codec takes the capacity of an array from the wire, so four hostile bytes would ask for gigabytes and abort the
//! process. `check` walks a request over the field tables of Kafka's own schemas and refuses a frame that names more than
//! it holds; what passes it can be decoded at a cost bounded by the frame and [`ITEMS_MAX`].

use super::tables::SCHEMAS;

/// Array elements and tagged fields that one request may hold: far above what clients send, low enough that the decoded
/// form of a frame of two-byte elements stays in the tens of megabytes.
pub const ITEMS_MAX: usize = 262_144;

/// Why a request is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// A field starts or ends behind the end of the frame.
    #[error("the request ends in the middle of a field at byte {at}")]
    Truncated {
        /// Where in the frame.
        at: usize,
    },
    /// An array says it has more elements than the remaining bytes can hold.
    #[error(
        "an array at byte {at} claims {count} elements, more than the {left} bytes that are left can hold"
    )]
    Array {
        /// Where in the frame.
        at: usize,
        /// What it claims.
        count: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A negative length other than -1, or a varint of more than 32 bits.
    #[error("an impossible length at byte {at}")]
    Length {
        /// Where in the frame.
        at: usize,
    },
    /// A tagged field whose content is longer or shorter than its size.
    #[error("the tagged field at byte {at} does not have the size it claims")]
    Tagged {
        /// Where in the frame.
        at: usize,
    },
    /// More than [`ITEMS_MAX`] elements in all.
    #[error("more than {ITEMS_MAX} elements in one request")]
    Items,
}

/// A type of the message schemas.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes, whatever they mean.
    Fixed(usize),
    /// A string, perhaps null.
    Text,
    /// Bytes or records, perhaps null.
    Blob,
    /// An array, perhaps null.
    Array(&'static Kind),
    /// Nested fields.
    Struct(&'static [Field]),
    /// Nested fields behind a byte that is 1, or nothing behind another.
    Maybe(&'static [Field]),
}

/// A field and the versions that have it, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) first: i16,
    pub(super) last: i16,
    pub(super) tag: Option<u32>,
    pub(super) kind: Kind,
}

pub(super) const fn field(first: i16, last: i16, kind: Kind) -> Field {
    Field { first, last, tag: None, kind }
}

pub(super) const fn tagged(tag: u32, first: i16, last: i16, kind: Kind) -> Field {
    Field { first, last, tag: Some(tag), kind }
}

impl Field {
    pub(super) fn in_version(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// A request's fields.
#[derive(Debug)]
pub(super) struct Schema {
    /// API key.
    pub(super) key: i16,
    /// First version with compact lengths and tagged fields, also in its headers.
    pub(super) flexible: i16,
    /// The body's fields.
    pub(super) fields: &'static [Field],
}

impl Schema {
    /// The schema of an API that is served.
    pub(super) fn of(key: i16) -> Option<&'static Schema> {
        SCHEMAS.iter().find(|schema| schema.key == key)
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub(super) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

/// Walks the body of a request, from `at` to the end of `frame`, and says where it ends. Bytes behind the last field are
/// let pass, as Kafka does.
///
/// # Errors
/// Says what is wrong and where; nothing was allocated.
pub(super) fn check(schema: &Schema, version: i16, frame: &[u8], at: usize) -> Result<usize, BoundsError> {
    let mut walk = Walk { frame, at, version, flexible: schema.is_flexible(version), items: 0 };
    walk.fields(schema.fields)?;
    Ok(walk.at)
}

/// Walks the tagged fields of a request header, which are all unknown, and says where they end.
pub(super) fn check_header_tags(frame: &[u8], at: usize) -> Result<usize, BoundsError> {
    let mut walk = Walk { frame, at, version: 0, flexible: true, items: 0 };
    walk.fields(&[])?;
    Ok(walk.at)
}

struct Walk<'a> {
    frame: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
    items: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), BoundsError> {
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            if field.in_version(self.version) {
                self.value(&field.kind)?;
            }
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn value(&mut self, kind: &'static Kind) -> Result<(), BoundsError> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => {
                let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
                self.skip(length.unwrap_or(0))
            }
            Kind::Blob => {
                let length = if self.flexible { self.compact_length()? } else { self.long_length()? };
                self.skip(length.unwrap_or(0))
            }
            Kind::Array(element) => self.array(element),
            Kind::Struct(fields) => self.fields(fields),
            Kind::Maybe(fields) => match self.take::<1>()? {
                [1] => self.fields(fields),
                _ => Ok(()),
            },
        }
    }

    fn array(&mut self, element: &'static Kind) -> Result<(), BoundsError> {
        let at = self.at;
        let length = if self.flexible { self.compact_length()? } else { self.long_length()? };
        let count = length.unwrap_or(0);
        let left = self.left();
        if count > left / self.least(element).max(1) {
            return Err(BoundsError::Array { at, count, left });
        }
        self.count_items(count)?;
        match element {
            Kind::Fixed(bytes) => self.skip(count * bytes),
            _ => (0..count).try_for_each(|_| self.value(element)),
        }
    }

    /// The fewest bytes that a value of `kind` takes in this version.
    fn least(&self, kind: &'static Kind) -> usize {
        let length_bytes = |plain| if self.flexible { 1 } else { plain };
        match kind {
            Kind::Fixed(bytes) => *bytes,
            Kind::Maybe(_) => 1,
            Kind::Text => length_bytes(2),
            Kind::Blob | Kind::Array(_) => length_bytes(4),
            Kind::Struct(fields) => {
                let plain =
                    fields.iter().filter(|field| field.tag.is_none() && field.in_version(self.version));
                plain.map(|field| self.least(&field.kind)).sum::<usize>() + usize::from(self.flexible)
            }
        }
    }

    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), BoundsError> {
        let at = self.at;
        let count = self.varint()?;
        let left = self.left();
        // A tagged field is at least its tag and its size.
        if count > left / 2 {
            return Err(BoundsError::Array { at, count, left });
        }
        self.count_items(count)?;
        for _ in 0..count {
            let at = self.at;
            let tag = self.varint()?;
            let size = self.varint()?;
            let start = self.at;
            let known = |field: &&Field| field.tag.is_some_and(|known| tag == known as usize);
            match fields.iter().find(known).filter(|field| field.in_version(self.version)) {
                // The codec reads a field that it knows by its type, not by its size.
                Some(field) => {
                    self.value(&field.kind)?;
                    if self.at - start != size {
                        return Err(BoundsError::Tagged { at });
                    }
                }
                None => self.skip(size)?,
            }
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    fn count_items(&mut self, count: usize) -> Result<(), BoundsError> {
        self.items = self.items.saturating_add(count);
        if self.items > ITEMS_MAX { Err(BoundsError::Items) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), BoundsError> {
        if bytes > self.left() {
            return Err(BoundsError::Truncated { at: self.at });
        }
        self.at += bytes;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BoundsError> {
        let at = self.at;
        let bytes = self.frame.get(at..).and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or(BoundsError::Truncated { at })?;
        self.at += N;
        Ok(bytes)
    }

    fn short_length(&mut self) -> Result<Option<usize>, BoundsError> {
        let at = self.at;
        length(i64::from(i16::from_be_bytes(self.take()?)), at)
    }

    fn long_length(&mut self) -> Result<Option<usize>, BoundsError> {
        let at = self.at;
        length(i64::from(i32::from_be_bytes(self.take()?)), at)
    }

    /// A compact length is one more than the length, 0 for null.
    fn compact_length(&mut self) -> Result<Option<usize>, BoundsError> {
        Ok(self.varint()?.checked_sub(1))
    }

    fn varint(&mut self) -> Result<usize, BoundsError> {
        let at = self.at;
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_too_big| BoundsError::Length { at });
            }
        }
        Err(BoundsError::Length { at })
    }
}

fn length(value: i64, at: usize) -> Result<Option<usize>, BoundsError> {
    match value {
        -1 => Ok(None),
        _ => usize::try_from(value).map(Some).map_err(|_negative| BoundsError::Length { at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(key: i16) -> &'static Schema {
        Schema::of(key).unwrap()
    }

    #[test]
    fn four_hostile_bytes_are_refused() {
        let frame = 0x7fff_ffff_u32.to_be_bytes();
        let refused = check(schema(3), 1, &frame, 0);
        assert_eq!(refused, Err(BoundsError::Array { at: 0, count: 0x7fff_ffff, left: 0 }));
        // Compact: 2^32 - 1 is a count of 2^32 - 2.
        let frame = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(check(schema(3), 9, &frame, 0), Err(BoundsError::Array { .. })));
    }

    #[test]
    fn null_and_empty_pass_and_trailing_bytes_are_left() {
        assert_eq!(check(schema(3), 1, &[0xff, 0xff, 0xff, 0xff, 9, 9], 0), Ok(4));
        assert_eq!(check(schema(3), 0, &[0, 0, 0, 0], 0), Ok(4));
        // Version 9: null topics, two booleans and a half, no tagged fields.
        assert_eq!(check(schema(3), 9, &[0, 1, 0, 0, 0], 0), Ok(5));
    }

    #[test]
    fn varints_of_more_than_32_bits_and_odd_lengths_are_refused() {
        assert_eq!(
            check(schema(3), 9, &[0xff, 0xff, 0xff, 0xff, 0x1f], 0),
            Err(BoundsError::Length { at: 0 })
        );
        assert_eq!(check(schema(3), 9, &[0x80; 6], 0), Err(BoundsError::Length { at: 0 }));
        assert_eq!(check(schema(3), 1, &[0xff, 0xff, 0xff, 0xfe], 0), Err(BoundsError::Length { at: 0 }));
    }

    #[test]
    fn a_known_tagged_field_has_the_size_it_claims() {
        // Fetch 12 without topics, then one tagged field: cluster id (tag 0), 3 bytes, "ab".
        let mut frame = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
        frame.extend([1, 1, 1]);
        frame.extend([1, 0, 3, 3, b'a', b'b']);
        assert_eq!(check(schema(1), 12, &frame, 0), Ok(frame.len()));
        let size = frame.len() - 4;
        frame[size] = 2;
        assert!(matches!(check(schema(1), 12, &frame, 0), Err(BoundsError::Tagged { .. })));
    }

    #[test]
    fn the_number_of_elements_is_bounded() {
        let count = u32::try_from(ITEMS_MAX + 1).unwrap();
        let mut frame = count.to_be_bytes().to_vec();
        frame.resize(4 + 2 * (ITEMS_MAX + 1), 0);
        assert_eq!(check(schema(3), 1, &frame, 0), Err(BoundsError::Items));
    }
}
