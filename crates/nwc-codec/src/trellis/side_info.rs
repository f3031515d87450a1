//! Scales of a matrix as bytes: four small vectors under the best of a fixed family of tables.
//!
//! Layout: step at exponent zero (f32, little endian); for each of `row_step`, `col_step`, `row_rms`,
//! `col_rms` two bytes: mode and base; then one entropy-coded substream of one lane with all entries
//! in that order. The mode's low bits are the table, its top bit says that an entry is coded as the
//! difference to the one before instead of to the base; the first one's predecessor is the base.
//! Lengths are the matrix's and are not stored.

use nwc_entropy::{CdfTable, DecodeTables, StreamDecoder, StreamEncoder, TableSet};

use super::{Error, Result, TensorScales};

const N_VECTORS: usize = 4;
const HEADER_BYTES: usize = 4 + 2 * N_VECTORS;
const DELTA: u8 = 0x80;
const PRECISION: u32 = 14;
/// Symbols of a table: −48 to 48; larger ones escape.
const REACH: i32 = 48;
/// Most entries that a byte of the substream can hold.
///
/// A table has 2·48 + 2 bins of at least one unit of mass, so none has more than f = M − 97 of M = 2^14. Coding an entry
/// takes a state x to ⌊x/f⌋·M + x mod f + c ≥ x + 97·⌊x/f⌋, and with x ≥ 2^16, hence ⌊x/f⌋ ≥ 0.8·x/f, to at least
/// 1.0047·x: 0.0068 bit. All that growth is in the words and in the upper half of the one state that are stored, so
/// 8/1280 = 0.00625 bit an entry is less than any encoder needs.
const MAX_ENTRIES_PER_BYTE: usize = 1280;
/// Ratios of neighbouring masses of the two-sided geometric tables.
const GEOMETRIC: [f64; 8] = [0.0002, 0.05, 0.2, 0.4, 0.6, 0.72, 0.82, 0.9];
/// exp(−1 / 2σ²) of the Gaussian tables, for σ = 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8.
const GAUSSIAN: [f64; 8] = [
    0.360448, 0.606531, 0.774837, 0.882497, 0.938218, 0.969233, 0.984183, 0.992218,
];

/// The fixed family; products and sums only, so that it is the same on every machine.
fn family() -> Result<TableSet> {
    let two_sided = |one_sided: Vec<f64>| {
        let total: f64 = one_sided.iter().sum::<f64>() * 2.0 - one_sided[0];
        let masses =
            (-REACH..=REACH).map(|symbol| one_sided[symbol.unsigned_abs() as usize] / total);
        CdfTable::from_pmf(&masses.collect::<Vec<_>>(), -REACH, PRECISION)
    };
    let powers = |ratio: f64, ratio_of_ratios: f64| {
        let mut mass = 1.0;
        let mut ratio = ratio;
        let mut masses = Vec::with_capacity(REACH as usize + 1);
        for _ in 0..=REACH {
            masses.push(mass);
            mass *= ratio;
            ratio *= ratio_of_ratios;
        }
        masses
    };
    let geometric = GEOMETRIC.iter().map(|&ratio| powers(ratio, 1.0));
    let gaussian = GAUSSIAN.iter().map(|&ratio| powers(ratio, ratio * ratio));
    let tables: Result<Vec<_>, _> = geometric.chain(gaussian).map(two_sided).collect();
    Ok(TableSet::new(tables?)?)
}

impl TensorScales {
    /// The scales as bytes, about 2 to 3 bits an entry for scales of real matrices.
    ///
    /// # Errors
    /// Those of [`TensorScales::validate`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let family = family()?;
        let mut bytes = self.tensor_step.to_le_bytes().to_vec();
        let mut encoder = StreamEncoder::new(&family);
        for vector in [&self.row_step, &self.col_step, &self.row_rms, &self.col_rms] {
            let plan = Plan::best(vector, &family);
            bytes.extend([plan.mode(), plan.base as u8]);
            for symbol in plan.symbols(vector) {
                encoder.push_step(&[plan.table], &[symbol])?;
            }
        }
        bytes.extend(encoder.finish());
        Ok(bytes)
    }

    /// Reads the scales of a `rows × cols` matrix.
    ///
    /// # Errors
    /// [`Error::SideInfoTooShort`] where so few bytes cannot hold the scales of such a matrix, before memory is taken for
    /// it; [`Error::SideInfo`] where the bytes are damaged; those of [`TensorScales::validate`].
    pub fn from_bytes(bytes: &[u8], rows: usize, cols: usize) -> Result<Self> {
        let damaged = |reason| Error::SideInfo {
            n_bytes: bytes.len(),
            reason,
        };
        let (header, stream) = bytes
            .split_at_checked(HEADER_BYTES)
            .ok_or(damaged("it ends within its header"))?;
        let n_entries = rows.saturating_add(cols).saturating_mul(2);
        let max_entries = stream.len().saturating_mul(MAX_ENTRIES_PER_BYTE);
        if n_entries > max_entries {
            return Err(Error::SideInfoTooShort {
                n_bytes: bytes.len(),
                n_entries,
                max_entries,
            });
        }
        let (step, modes) = header.split_at(4);
        let step: [u8; 4] = step
            .try_into()
            .map_err(|_| damaged("it ends within its header"))?;
        let family = family()?;
        let decode_tables = DecodeTables::new(&family);
        let mut decoder = StreamDecoder::new(&decode_tables, stream)?;
        if decoder.steps_left() as usize != n_entries {
            return Err(damaged("it does not hold two entries a row and column"));
        }
        let mut vectors: [Vec<i8>; N_VECTORS] = Default::default();
        let lengths = [rows, cols, rows, cols];
        for ((vector, len), mode) in vectors.iter_mut().zip(lengths).zip(modes.chunks_exact(2)) {
            let plan = Plan {
                table: u16::from(mode[0] & !DELTA),
                is_delta: mode[0] & DELTA != 0,
                base: mode[1] as i8,
            };
            if usize::from(plan.table) >= family.len() {
                return Err(damaged("a vector names a table that is not in the family"));
            }
            let mut previous = plan.base;
            vector.reserve_exact(len);
            for _ in 0..len {
                let mut symbol = [0];
                decoder.decode_step(&[plan.table], &mut symbol)?;
                let from = if plan.is_delta { previous } else { plan.base };
                previous = i32::from(from)
                    .checked_add(symbol[0])
                    .and_then(|entry| i8::try_from(entry).ok())
                    .ok_or(damaged("an exponent is outside of 8 bits"))?;
                vector.push(previous);
            }
        }
        decoder.finish()?;
        let [row_step, col_step, row_rms, col_rms] = vectors;
        let scales = Self {
            tensor_step: f32::from_le_bytes(step),
            row_step,
            col_step,
            row_rms,
            col_rms,
            zeros: None,
        };
        scales.validate()?;
        Ok(scales)
    }
}

/// How a vector is coded.
#[derive(Debug, Clone, Copy)]
struct Plan {
    table: u16,
    is_delta: bool,
    base: i8,
}

impl Plan {
    /// The cheapest plan for `vector`; ties go to the first.
    fn best(vector: &[i8], family: &TableSet) -> Self {
        let mut sorted = vector.to_vec();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let first = vector.first().copied().unwrap_or(0);
        let mut best = (
            f64::INFINITY,
            Self {
                table: 0,
                is_delta: false,
                base: 0,
            },
        );
        for (is_delta, base) in [(false, median), (true, first)] {
            for table in 0..family.len() as u16 {
                let plan = Self {
                    table,
                    is_delta,
                    base,
                };
                let Some(cdf) = family.get(usize::from(table)) else {
                    continue;
                };
                let bits: f64 = plan.symbols(vector).map(|symbol| cdf.bits(symbol)).sum();
                if bits < best.0 {
                    best = (bits, plan);
                }
            }
        }
        best.1
    }

    fn mode(self) -> u8 {
        self.table as u8 | if self.is_delta { DELTA } else { 0 }
    }

    fn symbols(self, vector: &[i8]) -> impl Iterator<Item = i32> + '_ {
        let before = std::iter::once(self.base).chain(vector.iter().copied());
        vector.iter().zip(before).map(move |(&entry, before)| {
            let from = if self.is_delta { before } else { self.base };
            i32::from(entry) - i32::from(from)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn scales(row_step: Vec<i8>, col_step: Vec<i8>) -> TensorScales {
        TensorScales {
            tensor_step: 0.03,
            row_rms: row_step.iter().rev().copied().collect(),
            col_rms: col_step.iter().map(|&e| e.wrapping_mul(3)).collect(),
            row_step,
            col_step,
            zeros: None,
        }
    }

    #[track_caller]
    fn check(scales: &TensorScales, most_bits_an_entry: f64) {
        let bytes = scales.to_bytes().unwrap();
        let (rows, cols) = (scales.rows(), scales.cols());
        assert_eq!(
            TensorScales::from_bytes(&bytes, rows, cols).unwrap(),
            *scales
        );
        let overhead = HEADER_BYTES + 16;
        let n_entries = 2 * (rows + cols);
        let bits = 8.0 * (bytes.len() - overhead.min(bytes.len())) as f64 / n_entries.max(1) as f64;
        assert!(bits <= most_bits_an_entry, "{bits} bits an entry");
    }

    #[test]
    fn takes_few_bits() {
        check(&scales(vec![], vec![]), 0.0);
        check(&scales(vec![-128], vec![127]), 8.0);
        check(&TensorScales::uniform(4096, 4096, 1.0, 1.0), 0.01);
        // Sums of eight uniform digits of three values: a deviation of 2.3, an entropy of 3.25 bits.
        let bell = |n: u32| {
            let digit = |i: u32, k: u32| (i.wrapping_mul(2_654_435_761) >> (3 * k + 2)) % 3;
            let hash = |i| (0..8).map(|k| digit(i, k)).sum::<u32>();
            (0..n).map(|i| hash(i) as i8 - 8).collect::<Vec<_>>()
        };
        let flat = TensorScales {
            row_rms: vec![0; 576],
            col_rms: vec![0; 1536],
            ..scales(bell(576), bell(1536))
        };
        check(&flat, 1.75);
        // A slope is coded by its differences.
        check(&scales((0..100).collect(), vec![5; 100]), 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn round_trips(row_step in vec(-60_i8..60, 0..40), col_step in vec(-60_i8..60, 0..40)) {
            check(&scales(row_step, col_step), 40.0);
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..80), rows in 0_usize..50, cols in 0_usize..50) {
            let _ = TensorScales::from_bytes(&bytes, rows, cols);
        }

        #[test]
        fn damage_never_panics(at in 0_usize..60, bit in 0..8, rows in 18_usize..23) {
            let mut bytes = scales((0..20).collect(), vec![-3; 30]).to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            let _ = TensorScales::from_bytes(&bytes, rows, 30);
        }
    }

    #[test]
    fn damage_is_named() {
        let good = scales(vec![1; 4], vec![2; 4]).to_bytes().unwrap();
        let read = |bytes: &[u8]| TensorScales::from_bytes(bytes, 4, 4);
        let reason = |bytes: &[u8]| match read(bytes) {
            Err(Error::SideInfo { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&good[..11]), "it ends within its header");
        let mut table = good.clone();
        table[4] = 99;
        assert!(reason(&table).contains("not in the family"));
        let mut base = good.clone();
        base[4] = 1 | DELTA;
        base[5] = 127;
        assert!(read(&base).is_err() || read(&base).unwrap().row_step[0] == 127);
        let mut step = good.clone();
        step[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(matches!(read(&step), Err(Error::Step { .. })));
        for rows in [40, 3] {
            assert!(matches!(
                TensorScales::from_bytes(&good, rows, 4),
                Err(Error::SideInfo { .. })
            ));
        }
    }

    #[test]
    fn scales_that_no_section_of_that_length_holds_are_refused_first() {
        let good = scales(vec![1; 4], vec![2; 4]).to_bytes().unwrap();
        for (rows, cols) in [(1 << 20, 4), (usize::MAX, usize::MAX)] {
            let error = TensorScales::from_bytes(&good, rows, cols).unwrap_err();
            assert!(matches!(error, Error::SideInfoTooShort { .. }), "{error}");
        }
    }

    /// The shortest scales that there are, entry for entry, stay below the bound.
    #[test]
    fn no_scales_hold_more_entries_a_byte_than_allowed() {
        let family = family().unwrap();
        for table in 0..family.len() {
            let cdf = family.get(table).unwrap().cdf();
            assert!(
                cdf.windows(2)
                    .all(|bin| bin[1] - bin[0] <= (1 << PRECISION) - 97)
            );
        }
        for n in [1_usize, 300, 5_000, 1 << 19] {
            let even = TensorScales::uniform(n, n, 1.0, 1.0);
            let bytes = even.to_bytes().unwrap();
            assert_eq!(TensorScales::from_bytes(&bytes, n, n).unwrap(), even);
            let per_byte = 4 * n / (bytes.len() - HEADER_BYTES);
            println!("{n}: {per_byte} entries a byte");
            assert!(per_byte < MAX_ENTRIES_PER_BYTE, "{n}: {per_byte}");
        }
    }
}
