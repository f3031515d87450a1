//! GGML's block formats back to f32, bit for bit as the `gguf` package computes them.
//!
//! A block holds 32 neighbours along the last axis: `Q4_0` a scale d (f16) and 4-bit values, x = d·(q − 8);
//! `Q4_1` a scale d and a minimum m (both f16), x = d·q + m; `Q8_0` a scale d and signed bytes, x = d·q.
//! Of the 4-bit values the low halves of 16 bytes come first, then the high halves.

use anyhow::{Result, bail};
use half::f16;

const BLOCK_LEN: usize = 32;

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q8_0,
}

impl StorageType {
    /// The type of GGML's number `type_id`.
    ///
    /// # Errors
    /// Where the number is none of those that this file can read.
    pub(crate) fn from_id(type_id: u32) -> Result<Self> {
        Ok(match type_id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            other => bail!(
                "storage type {other}, known are F32 (0), F16 (1), Q4_0 (2), Q4_1 (3), Q8_0 (8)"
            ),
        })
    }

    /// Values in a block and bytes it takes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q4_0 => (BLOCK_LEN, 2 + BLOCK_LEN / 2),
            Self::Q4_1 => (BLOCK_LEN, 4 + BLOCK_LEN / 2),
            Self::Q8_0 => (BLOCK_LEN, 2 + BLOCK_LEN),
        }
    }

    /// Bytes that `n_values` values take, the last block counted whole.
    pub(crate) fn n_bytes(self, n_values: usize) -> usize {
        let (block_len, block_bytes) = self.block();
        n_values.div_ceil(block_len).saturating_mul(block_bytes)
    }

    /// The values of `bytes`, which holds whole blocks; what is left over is not read.
    pub(crate) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let (block_len, block_bytes) = self.block();
        let mut values = Vec::with_capacity(bytes.len() / block_bytes * block_len);
        for block in bytes.chunks_exact(block_bytes) {
            match self {
                Self::F32 => {
                    values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
                }
                Self::F16 => values.push(half_at(block, 0)),
                Self::Q4_0 => {
                    let scale = half_at(block, 0);
                    values.extend(nibbles(&block[2..]).map(|q| scale * (q - 8.0)));
                }
                Self::Q4_1 => {
                    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
                    values.extend(nibbles(&block[4..]).map(|q| scale * q + minimum));
                }
                Self::Q8_0 => {
                    let scale = half_at(block, 0);
                    values.extend(
                        block[2..]
                            .iter()
                            .map(|&q| scale * f32::from(q.cast_signed())),
                    );
                }
            }
        }
        values
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn nibbles(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let low = bytes.iter().map(|byte| f32::from(byte & 15));
    low.chain(bytes.iter().map(|byte| f32::from(byte >> 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: StorageType, head: &[f32], quants: &[u8], expected: &[(usize, f32)]) {
        let mut block = Vec::new();
        head.iter()
            .for_each(|&value| block.extend(f16::from_f32(value).to_le_bytes()));
        block.extend(quants);
        let values = stored.values(&block);
        for &(idx, value) in expected {
            assert_eq!(values[idx], value, "{stored:?} value {idx}");
        }
    }

    #[test]
    fn blocks_have_their_values() {
        let mut nibbles = [0_u8; 16];
        nibbles[0] = 0x1f;
        nibbles[15] = 0x80;
        check(
            StorageType::Q4_0,
            &[0.5],
            &nibbles,
            &[(0, 3.5), (16, -3.5), (15, -4.0), (31, 0.0)],
        );
        check(
            StorageType::Q4_1,
            &[0.5, -1.0],
            &nibbles,
            &[(0, 6.5), (16, -0.5), (1, -1.0), (31, 3.0)],
        );
        let mut bytes = [0_u8; 32];
        bytes[0] = 127;
        bytes[31] = 0x80;
        check(
            StorageType::Q8_0,
            &[0.25],
            &bytes,
            &[(0, 31.75), (1, 0.0), (31, -32.0)],
        );
    }

    #[test]
    fn plain_types_are_read() {
        assert_eq!(StorageType::F32.values(&1.25_f32.to_le_bytes()), [1.25]);
        assert_eq!(
            StorageType::F16.values(&f16::from_f32(-3.0).to_le_bytes()),
            [-3.0]
        );
    }

    #[test]
    fn blocks_are_whole() {
        assert_eq!(StorageType::Q4_1.n_bytes(33), 40);
        assert_eq!(StorageType::Q4_1.values(&[0; 39]).len(), 32);
    }

    #[test]
    fn an_unknown_type_is_an_error() {
        assert!(
            StorageType::from_id(14)
                .unwrap_err()
                .to_string()
                .contains("14")
        );
    }
}
