//! A trellis codec: configuration, entropy tables, reconstruction points, and what follows of them.

use nwc_entropy::{DecodeTables, TableSet};

use super::levels::Levels;
use super::tables::table_set;
use super::{Reconstruction, Result, TrellisCode, TrellisConfig};

/// Everything that coder and decoder must share; a codec file holds it.
#[derive(Debug, Clone)]
pub struct TrellisCodec {
    config: TrellisConfig,
    tables: TableSet,
    reconstruction: Reconstruction,
    // What follows of the above.
    code: TrellisCode,
    levels: Levels,
    decode_tables: DecodeTables,
}

impl TrellisCodec {
    /// A codec of these parts; tables are two a bucket, for the even and the odd class.
    ///
    /// # Errors
    /// [`super::Error::Config`]; [`super::Error::ShapeMismatch`] where the parts do not agree.
    pub fn new(
        config: TrellisConfig,
        tables: TableSet,
        reconstruction: Reconstruction,
    ) -> Result<Self> {
        config.validate()?;
        let levels = Levels::new(&config, &tables, &reconstruction)?;
        Ok(Self {
            code: TrellisCode::new(usize::from(config.n_states))?,
            levels,
            decode_tables: DecodeTables::new(&tables),
            config,
            tables,
            reconstruction,
        })
    }

    /// A codec with analytic tables, for weights that are nearly Gaussian about their predicted
    /// scale; no data is needed.
    ///
    /// # Errors
    /// [`super::Error::Config`].
    pub fn parametric(config: TrellisConfig) -> Result<Self> {
        config.validate()?;
        let tables = table_set(&config, None)?;
        let reconstruction = Reconstruction::integers(usize::from(config.n_buckets));
        Self::new(config, tables, reconstruction)
    }

    /// The configuration.
    pub fn config(&self) -> &TrellisConfig {
        &self.config
    }

    /// The entropy tables, `[bucket][parity]`.
    pub fn tables(&self) -> &TableSet {
        &self.tables
    }

    /// The reconstruction points.
    pub fn reconstruction(&self) -> &Reconstruction {
        &self.reconstruction
    }

    /// The trellis code.
    pub(crate) fn code(&self) -> &TrellisCode {
        &self.code
    }

    /// First table of the bucket of a predicted scale, in quarter-octaves of the step; the next
    /// table is the odd class'.
    pub(super) fn first_table(&self, exponent: i32) -> u16 {
        self.config.first_table(exponent) as u16
    }

    pub(super) fn levels(&self) -> &Levels {
        &self.levels
    }

    pub(super) fn decode_tables(&self) -> &DecodeTables {
        &self.decode_tables
    }
}
