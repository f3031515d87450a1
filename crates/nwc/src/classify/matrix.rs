//! How a tensor of two to four dimensions is seen as a matrix.

/// Kernels of at most this many taps over one input channel are depthwise; ConvNeXt's 7×7 has 49.
const MAX_DEPTHWISE_TAPS: usize = 64;
/// A last dimension below this is a kernel's width, not a row of weights.
const MIN_ROW_OF_STACK: usize = 32;

/// What the dimensions of a tensor stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[rows, cols]`, stored so.
    Matrix { rows: usize, cols: usize },
    /// Matrices of equal shape on top of each other, `[n, rows, cols]`: the experts of a layer.
    Stack { rows: usize, cols: usize },
    /// A convolution's kernel, `[out, in, taps…]`, seen as `[out, in · taps]`.
    Kernel { rows: usize, cols: usize },
    /// One kernel for each channel, `[channels, 1, taps…]`: a few weights a row.
    Depthwise,
    /// No matrix at all.
    NoMatrix,
}

impl Layout {
    /// The layout of a tensor of that name and shape.
    ///
    /// Three dimensions are experts by name or by size, a kernel otherwise; four are a kernel. More dimensions are no
    /// matrix: what there is of them (the patch embedding of video models) is small.
    pub(crate) fn of(name: &str, shape: &[usize]) -> Self {
        match *shape {
            [rows, cols] => Self::Matrix { rows, cols },
            [_, _, _] | [_, _, _, _] if is_depthwise(name, shape) => Self::Depthwise,
            [n, rows, cols] if is_stack(name, cols) => match n.checked_mul(rows) {
                Some(rows) => Self::Stack { rows, cols },
                None => Self::NoMatrix,
            },
            [rows, ref inner @ ..] if matches!(inner.len(), 2 | 3) => {
                let cols = inner.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                match cols {
                    Some(cols) => Self::Kernel { rows, cols },
                    None => Self::NoMatrix,
                }
            }
            _ => Self::NoMatrix,
        }
    }

    /// Rows and columns, where it is a matrix that can be coded.
    pub(crate) fn matrix(self) -> Option<(usize, usize)> {
        match self {
            Self::Matrix { rows, cols }
            | Self::Stack { rows, cols }
            | Self::Kernel { rows, cols } => Some((rows, cols)),
            Self::Depthwise | Self::NoMatrix => None,
        }
    }
}

fn is_depthwise(name: &str, shape: &[usize]) -> bool {
    let [channels, 1, taps @ ..] = shape else {
        return false;
    };
    let n_taps = taps.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    // A patch embedding of one channel (spectrograms) has the same shape with many more taps; a stack of row vectors,
    // [n, 1, hidden], is told by its length.
    *channels > 1 && (n_taps <= MAX_DEPTHWISE_TAPS || name.contains("conv"))
}

fn is_stack(name: &str, last_dim: usize) -> bool {
    let is_expert = ["expert", "moe", "bank"].iter().any(|s| name.contains(s));
    let is_kernel = name.contains("conv") || name.contains("patch_embed");
    is_expert || (!is_kernel && last_dim >= MIN_ROW_OF_STACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, shape: &[usize], expected: Layout) {
        assert_eq!(Layout::of(name, shape), expected, "{name} {shape:?}");
    }

    #[test]
    fn dimensions_by_name_and_size() {
        let kernel = |rows, cols| Layout::Kernel { rows, cols };
        let stack = |rows, cols| Layout::Stack { rows, cols };
        check("w", &[3, 4], Layout::Matrix { rows: 3, cols: 4 });
        check("mlp.experts.down_proj", &[8, 96, 16], stack(768, 16));
        check(
            "block_sparse_moe.input_linear.weight",
            &[8, 9, 7],
            stack(72, 7),
        );
        check("x.weight", &[8, 96, 64], stack(768, 64));
        check("audio.conv2.weight", &[64, 32, 3], kernel(64, 96));
        check("encoder.conv1.weight", &[384, 80, 64], kernel(384, 5120));
        check("unet.conv_in.weight", &[320, 4, 3, 3], kernel(320, 36));
        check(
            "patch_embedding.weight",
            &[768, 3, 16, 16],
            kernel(768, 768),
        );
        check(
            "ast.patch_embeddings.projection.weight",
            &[768, 1, 16, 16],
            kernel(768, 256),
        );
        check("mixer.conv1d.weight", &[2048, 1, 4], Layout::Depthwise);
        check("dwconv.weight", &[96, 1, 7, 7], Layout::Depthwise);
        check("features.3.weight", &[96, 1, 3, 3], Layout::Depthwise);
        check("h.0.attn.bias", &[1, 1, 64, 64], kernel(1, 4096));
        check(
            "visual.patch_embed.proj.weight",
            &[32, 3, 2, 8, 8],
            Layout::NoMatrix,
        );
        check("a", &[7], Layout::NoMatrix);
        check("a", &[], Layout::NoMatrix);
    }

    #[test]
    fn overflow_is_no_matrix() {
        check("w", &[usize::MAX, 2, 64], Layout::NoMatrix);
        check("conv", &[2, usize::MAX, 2], Layout::NoMatrix);
    }
}
