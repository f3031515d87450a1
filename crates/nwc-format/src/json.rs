//! JSON values that are bounded while they are read, and numbers that come back to the last bit.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::layout::{MAX_DIMS, MAX_PARAMETERS};

/// A number read from its digits: serde_json's own reading may be one unit in the last place off.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        match text.parse() {
            Ok(value) if is_number => Ok(Self(value)),
            _ => Err(de::Error::custom(format_args!("`{text}` is no number"))),
        }
    }
}

/// A shape of at most [`MAX_DIMS`] dimensions.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct Shape(pub(crate) Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut shape = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if shape.len() == MAX_DIMS {
                        return Err(de::Error::custom(format_args!(
                            "more than {MAX_DIMS} dimensions"
                        )));
                    }
                    shape.push(dim);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

/// A map of at most `MAX` entries in which a repeated key is an error.
///
/// Serde's own maps let the last of two equal keys win, which lets one file have two readings.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct UniqueMap<V, const MAX: usize>(pub(crate) BTreeMap<String, V>);

/// The parameters of a coding.
pub(crate) type Numbers = UniqueMap<Number, MAX_PARAMETERS>;
/// Strings by name.
pub(crate) type Strings<const MAX: usize> = UniqueMap<String, MAX>;

impl<V, const MAX: usize> UniqueMap<V, MAX> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V, const MAX: usize> Default for UniqueMap<V, MAX> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl From<&BTreeMap<String, f64>> for Numbers {
    fn from(values: &BTreeMap<String, f64>) -> Self {
        let numbers = values
            .iter()
            .map(|(key, &value)| (key.clone(), Number(value)));
        Self(numbers.collect())
    }
}

impl From<Numbers> for BTreeMap<String, f64> {
    fn from(numbers: Numbers) -> Self {
        let values = numbers.0.into_iter().map(|(key, number)| (key, number.0));
        values.collect()
    }
}

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for UniqueMap<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<V, const MAX: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for UniqueVisitor<V, MAX> {
            type Value = UniqueMap<V, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut unique = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if unique.len() == MAX {
                        return Err(de::Error::custom(format_args!("more than {MAX} keys")));
                    }
                    match unique.entry(key) {
                        Entry::Vacant(entry) => _ = entry.insert(value),
                        Entry::Occupied(entry) => {
                            return Err(de::Error::custom(format_args!(
                                "key `{}` is there twice",
                                entry.key()
                            )));
                        }
                    }
                }
                Ok(UniqueMap(unique))
            }
        }
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

/// How often `what` is in a JSON text outside of its strings: what a text holds is known before room is made for it.
pub(crate) fn count_outside_strings(json: &[u8], what: u8) -> usize {
    let (mut n, mut is_string, mut is_escaped) = (0, false, false);
    for &byte in json {
        n += usize::from(byte == what && !is_string);
        is_string ^= byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
    }
    n
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_to_the_last_bit(value in prop::num::f64::ANY) {
            prop_assume!(value.is_finite());
            let text = serde_json::to_string(&Number(value)).unwrap();
            let back: Number = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back.0.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn strings_are_not_counted() {
        let text = br#"{"a{":{"b\"{\\":{}},"c\\":"}{"}"#;
        assert_eq!(count_outside_strings(text, b'{'), 3);
        assert_eq!(count_outside_strings(text, b':'), 3);
    }

    #[track_caller]
    fn check<T: for<'de> Deserialize<'de>>(text: &str, expected: &str) {
        let error = serde_json::from_str::<T>(text).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn bounds_hold_while_reading() {
        let shape = |n: usize| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(
            serde_json::from_str::<Shape>(&shape(255)).unwrap().0.len(),
            255
        );
        check::<Shape>(&shape(256), "more than 255 dimensions");
        check::<Strings<1>>(r#"{"a":"","b":""}"#, "more than 1 keys");
        check::<Strings<2>>(r#"{"a":"","a":""}"#, "key `a` is there twice");
        for text in [r#""1""#, "[1]", "true", "null", "{}"] {
            check::<Number>(text, &format!("`{text}` is no number"));
        }
    }
}
