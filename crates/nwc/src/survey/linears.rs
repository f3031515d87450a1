//! The linear weights of a checkpoint as matrices: what codecs are trained on.

use std::path::Path;

use nwc_chunk::ndarray::Array2;
use nwc_chunk::{normalize_rows_in_place, row_scales};

use crate::classify::Overrides;
use crate::folder::Source;
use crate::options::NonFinite;
use crate::survey::{Plan, Scope};
use crate::{Error, Result};

/// Calls `each` with name and weights, `[out, in]`, of every linear of the plain checkpoint in `dir` that
/// compression would code, embeddings and head left out; with `normalized`, rows are divided by their scales.
///
/// # Errors
/// [`Error`] names file and tensor; whatever `each` returns ends the walk.
pub fn for_each_linear<E: From<Error>>(
    dir: impl AsRef<Path>,
    normalized: bool,
    mut each: impl FnMut(&str, Array2<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let source = Source::open(dir.as_ref())?;
    let plan = Plan::new(
        &source,
        Scope::Linears,
        NonFinite::Refuse,
        &Overrides::default(),
    )?;
    for (planned, role, (rows, cols)) in plan.coded() {
        if !role.is_linear() {
            continue;
        }
        let name = &planned.tensor.name;
        let mut weights = Array2::from_shape_vec((rows, cols), planned.weights()?)
            .expect("a planned matrix has the tensor's elements");
        if normalized {
            let scales = row_scales(weights.view());
            normalize_rows_in_place(weights.view_mut(), scales.view())
                .map_err(|e| Error::tensor(planned.shard.path(), name, e))?;
        }
        each(name, weights)?;
    }
    Ok(())
}
