//! How many bits a matrix will take, from its scales alone.

use nwc_entropy::CdfTable;

use super::{Result, TensorScales, TrellisCodec};

/// # Predicting the rate
impl TrellisCodec {
    /// Bits that a weight of this predicted scale (quarter-octaves of the step) takes on average: the
    /// entropy of its bucket's tables, both parities equally often.
    ///
    /// Tables fitted to quantised weights have the search's preference for cheap symbols in them;
    /// analytic ones do not and give a few percent too much below 3 bits.
    pub fn expected_bits(&self, exponent: i32) -> f64 {
        let first = self.config().first_table(exponent);
        let entropy = |table: usize| self.tables().get(table).map_or(0.0, entropy);
        match self.config().n_states {
            // One state never leaves the even class.
            1 => entropy(first),
            _ => 0.5 * (entropy(first) + entropy(first + 1)),
        }
    }

    /// Bits that the symbols of a matrix with these scales will take, substreams' overhead excluded.
    ///
    /// # Errors
    /// Those of [`TensorScales::validate`].
    pub fn predicted_bits(&self, scales: &TensorScales) -> Result<f64> {
        scales.validate()?;
        let rows = occurrences(&scales.row_rms);
        let cols = occurrences(&scales.col_rms);
        let mut bits = 0.0;
        for &(row_exponent, n_rows) in &rows {
            for &(col_exponent, n_cols) in &cols {
                bits += n_rows * n_cols * self.expected_bits(row_exponent + col_exponent);
            }
        }
        Ok(bits)
    }
}

/// Entropy of a table in bits; the escape's own bits are left out.
fn entropy(table: &CdfTable) -> f64 {
    let total = table.cdf().last().map_or(1.0, |&total| f64::from(total));
    let masses = table
        .cdf()
        .windows(2)
        .map(|pair| f64::from(pair[1] - pair[0]) / total);
    masses.map(|mass| -mass * mass.log2()).sum()
}

/// Each value that occurs, and how often.
fn occurrences(exponents: &[i8]) -> Vec<(i32, f64)> {
    let mut counts = [0_usize; 256];
    for &exponent in exponents {
        counts[(i32::from(exponent) + 128) as usize] += 1;
    }
    let counts = counts
        .into_iter()
        .zip(-128..)
        .filter(|&(count, _)| count > 0);
    counts
        .map(|(count, exponent)| (exponent, count as f64))
        .collect()
}
