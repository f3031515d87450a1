//! Analysis and synthesis: the residual network on a batch of rows. Source: `docs/METHOD.md` 1.2.
//!
//! ```text
//! x  = input(rows)                                            [width]
//! x  = (x + relu(layer_norm(linear(x)))) * embedding[level]   for each block
//! out = output(x)
//! ```

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::{ArrayD, Axis};

use super::layers::{self, BlockPass};
use super::parameters::Parameters;
use super::product::product;
use crate::{CodecConfig, Error, Result};

/// Rows that go through the network together; batches are always cut here, whatever the number of threads.
pub(super) const BATCH_ROWS: usize = 256;

/// The last batch is padded to a multiple of this, so that products have few shapes.
const ROW_MULTIPLE: usize = 64;

/// Depth of a product up to which `gemm` sums an element in one pass, whatever the number of rows.
///
/// Deeper networks are padded to whole batches, so that a row's result never depends on its neighbours.
const MAX_SINGLE_PASS_DEPTH: usize = 512;

/// A linear layer made ready for [`product`].
#[derive(Debug, Clone)]
struct Linear {
    /// `[in, out]`, the transpose of what the file holds.
    weight: Vec<f32>,
    /// `[out]`.
    bias: Vec<f32>,
    n_in: usize,
    n_out: usize,
}

/// A residual block made ready: the linear layer's outputs have mean zero, so LayerNorm need not subtract it.
#[derive(Debug, Clone)]
struct Block {
    linear: Linear,
    norm_weight: Vec<f32>,
    norm_bias: Vec<f32>,
}

/// One direction of the codec, made ready to run.
#[derive(Debug, Clone)]
pub(super) struct Transform {
    input: Linear,
    blocks: Vec<Block>,
    output: Linear,
    /// Quality embedding, `[n_quality_levels, width]`.
    embedding: Vec<f32>,
    width: usize,
    row_multiple: usize,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    input: Vec<f32>,
    hidden: Vec<f32>,
    branch: Vec<f32>,
    output: Vec<f32>,
}

impl Transform {
    /// The transform whose parameters start with `side`; `parameters` must have been checked.
    pub(super) fn new(
        config: &CodecConfig,
        parameters: &Parameters,
        side: &str,
        embedding: &str,
    ) -> Result<Self> {
        let input = Linear::new(parameters, &format!("{side}.input"))?;
        let output = Linear::new(parameters, &format!("{side}.output"))?;
        let mut blocks = Vec::with_capacity(config.n_blocks);
        for block in 0..config.n_blocks {
            let prefix = format!("{side}.blocks.{block}");
            blocks.push(Block {
                linear: Linear::new_centred(parameters, &format!("{prefix}.linear"))?,
                norm_weight: vector(parameters, &format!("{prefix}.norm.weight"))?,
                norm_bias: vector(parameters, &format!("{prefix}.norm.bias"))?,
            });
        }
        let depth = config.width.max(input.n_in);
        Ok(Self {
            input,
            blocks,
            output,
            embedding: vector(parameters, embedding)?,
            width: config.width,
            row_multiple: if depth <= MAX_SINGLE_PASS_DEPTH {
                ROW_MULTIPLE
            } else {
                BATCH_ROWS
            },
        })
    }

    /// Runs up to [`BATCH_ROWS`] rows and returns `[levels.len(), n_out]`, row-major, inside `scratch`.
    ///
    /// `fill` writes the input rows `[levels.len(), n_in]`; each level must be below the codec's number of levels.
    pub(super) fn run<'s>(
        &self,
        levels: &[QualityLevel],
        fill: impl FnOnce(&mut [f32]),
        scratch: &'s mut Scratch,
    ) -> &'s [f32] {
        let n_rows = levels.len().next_multiple_of(self.row_multiple);
        let Scratch {
            input,
            hidden,
            branch,
            output,
        } = scratch;
        input.resize(n_rows * self.input.n_in, 0.0);
        hidden.resize(n_rows * self.width, 0.0);
        branch.resize(n_rows * self.width, 0.0);
        output.resize(n_rows * self.output.n_out, 0.0);
        let (rows, padding) = input.split_at_mut(levels.len() * self.input.n_in);
        fill(rows);
        padding.fill(0.0);

        self.input.run(input, hidden);
        layers::add_bias(hidden, &self.input.bias);
        for block in &self.blocks {
            block.linear.run(hidden, branch);
            layers::finish_block(
                hidden,
                branch,
                levels,
                BlockPass {
                    bias: &block.linear.bias,
                    norm_weight: &block.norm_weight,
                    norm_bias: &block.norm_bias,
                    embedding: &self.embedding,
                },
            );
        }
        self.output.run(hidden, output);
        layers::add_bias(output, &self.output.bias);
        &output[..levels.len() * self.output.n_out]
    }
}

impl Linear {
    fn new(parameters: &Parameters, prefix: &str) -> Result<Self> {
        Self::build(parameters, prefix, false)
    }

    /// The layer followed by subtraction of the mean over its outputs, which is again a linear layer.
    fn new_centred(parameters: &Parameters, prefix: &str) -> Result<Self> {
        Self::build(parameters, prefix, true)
    }

    fn build(parameters: &Parameters, prefix: &str, centred: bool) -> Result<Self> {
        let weight = get(parameters, &format!("{prefix}.weight"))?;
        let (n_out, n_in) = match *weight.shape() {
            [n_out, n_in] => (n_out, n_in),
            _ => {
                return Err(Error::ParameterMissing {
                    name: format!("{prefix}.weight"),
                });
            }
        };
        let mut bias = vector(parameters, &format!("{prefix}.bias"))?;
        let mut transposed = Vec::with_capacity(n_in * n_out);
        for column in weight.axis_iter(Axis(1)) {
            let start = transposed.len();
            transposed.extend(column.iter().copied());
            if centred {
                centre(&mut transposed[start..]);
            }
        }
        if centred {
            centre(&mut bias);
        }
        Ok(Self {
            weight: transposed,
            bias,
            n_in,
            n_out,
        })
    }

    fn run(&self, rows: &[f32], out: &mut [f32]) {
        product(rows, &self.weight, self.n_in, self.n_out, out);
    }
}

/// Subtracts the mean, computed in f64.
fn centre(values: &mut [f32]) {
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
    for value in values {
        *value = (f64::from(*value) - mean) as f32;
    }
}

fn vector(parameters: &Parameters, name: &str) -> Result<Vec<f32>> {
    Ok(get(parameters, name)?.iter().copied().collect())
}

fn get<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a ArrayD<f32>> {
    parameters
        .get(name)
        .ok_or_else(|| Error::ParameterMissing { name: name.into() })
}
