//! Element types, by the names that safetensors gives them.

use std::fmt;
use std::str::FromStr;

use safetensors::Dtype as PlainDtype;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the safetensors names")]
pub enum DType {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

impl DType {
    /// All of them, in the order of safetensors.
    pub const ALL: [Self; 22] = [
        Self::Bool,
        Self::F4,
        Self::F6E2M3,
        Self::F6E3M2,
        Self::U8,
        Self::I8,
        Self::F8E5M2,
        Self::F8E4M3,
        Self::F8E8M0,
        Self::F8E4M3Fnuz,
        Self::F8E5M2Fnuz,
        Self::I16,
        Self::U16,
        Self::F16,
        Self::BF16,
        Self::I32,
        Self::U32,
        Self::F32,
        Self::C64,
        Self::F64,
        Self::I64,
        Self::U64,
    ];

    /// The safetensors name, as in `BF16` or `F8_E4M3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::F4 => "F4",
            Self::F6E2M3 => "F6_E2M3",
            Self::F6E3M2 => "F6_E3M2",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F8E5M2 => "F8_E5M2",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E8M0 => "F8_E8M0",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::I16 => "I16",
            Self::U16 => "U16",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I32 => "I32",
            Self::U32 => "U32",
            Self::F32 => "F32",
            Self::C64 => "C64",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::U64 => "U64",
        }
    }

    /// Bits of one element.
    pub fn bits(self) -> u64 {
        match self {
            Self::F4 => 4,
            Self::F6E2M3 | Self::F6E3M2 => 6,
            Self::Bool
            | Self::U8
            | Self::I8
            | Self::F8E5M2
            | Self::F8E4M3
            | Self::F8E8M0
            | Self::F8E4M3Fnuz
            | Self::F8E5M2Fnuz => 8,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 16,
            Self::I32 | Self::U32 | Self::F32 => 32,
            Self::C64 | Self::F64 | Self::I64 | Self::U64 => 64,
        }
    }

    /// Bytes of one element, rounded up: 1 for the 4- and 6-bit types, whose tensors [`Self::n_bytes`] measures.
    pub fn size(self) -> usize {
        match self.bits() {
            64 => 8,
            32 => 4,
            16 => 2,
            _ => 1,
        }
    }

    /// Bytes of a dense tensor of `shape`; `None` where that overflows or is no whole number of bytes.
    pub fn n_bytes(self, shape: &[usize]) -> Option<u64> {
        let n_bits = shape.iter().try_fold(self.bits(), |n, &dim| {
            n.checked_mul(u64::try_from(dim).ok()?)
        })?;
        n_bits.is_multiple_of(8).then_some(n_bits / 8)
    }

    /// All names, for messages.
    pub(crate) fn known_names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    pub(crate) fn to_plain(self) -> PlainDtype {
        match self {
            Self::Bool => PlainDtype::BOOL,
            Self::F4 => PlainDtype::F4,
            Self::F6E2M3 => PlainDtype::F6_E2M3,
            Self::F6E3M2 => PlainDtype::F6_E3M2,
            Self::U8 => PlainDtype::U8,
            Self::I8 => PlainDtype::I8,
            Self::F8E5M2 => PlainDtype::F8_E5M2,
            Self::F8E4M3 => PlainDtype::F8_E4M3,
            Self::F8E8M0 => PlainDtype::F8_E8M0,
            Self::F8E4M3Fnuz => PlainDtype::F8_E4M3FNUZ,
            Self::F8E5M2Fnuz => PlainDtype::F8_E5M2FNUZ,
            Self::I16 => PlainDtype::I16,
            Self::U16 => PlainDtype::U16,
            Self::F16 => PlainDtype::F16,
            Self::BF16 => PlainDtype::BF16,
            Self::I32 => PlainDtype::I32,
            Self::U32 => PlainDtype::U32,
            Self::F32 => PlainDtype::F32,
            Self::C64 => PlainDtype::C64,
            Self::F64 => PlainDtype::F64,
            Self::I64 => PlainDtype::I64,
            Self::U64 => PlainDtype::U64,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| Error::argument("dtype", format!("`{name}`"), Self::known_names()))
    }
}

impl Serialize for DType {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for DType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_those_of_safetensors() {
        for dtype in DType::ALL {
            let plain = dtype.to_plain();
            assert_eq!(dtype.name(), plain.to_string());
            assert_eq!(usize::try_from(dtype.bits()).unwrap(), plain.bitsize());
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.size() as u64, dtype.bits().div_ceil(8));
        }
    }

    #[test]
    fn unknown_name_is_named() {
        let message = "F12".parse::<DType>().unwrap_err().to_string();
        assert!(
            message.starts_with("dtype is `F12`, allowed is BOOL, F4"),
            "{message}"
        );
    }

    #[test]
    fn bytes_of_odd_shapes() {
        assert_eq!(DType::F32.n_bytes(&[]), Some(4));
        assert_eq!(DType::F32.n_bytes(&[0, 7]), Some(0));
        assert_eq!(DType::F4.n_bytes(&[3]), None);
        assert_eq!(DType::F6E2M3.n_bytes(&[4]), Some(3));
        assert_eq!(DType::U8.n_bytes(&[usize::MAX, 2]), None);
    }
}
