//! Conversions between plain arrays and LibTorch tensors, and loading with a check of the shape.

use ndarray::Array2;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::weights::WeightSource;

/// Reads tensors from a source onto a device.
pub(crate) struct Loader<'s> {
    pub(crate) source: &'s dyn WeightSource,
    pub(crate) device: tch::Device,
}

impl Loader<'_> {
    /// Reads `name`, which must have `shape`.
    pub(crate) fn load(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let weights = self.source.tensor(name)?;
        if weights.shape != shape {
            return Err(Error::TensorShape {
                name: name.to_owned(),
                found: weights.shape,
                expected: shape.to_vec(),
            });
        }
        let n_expected: usize = shape.iter().product();
        if weights.data.len() != n_expected {
            return Err(Error::TensorLength {
                name: name.to_owned(),
                found: weights.data.len(),
                expected: n_expected,
            });
        }
        from_slice(&weights.data, shape, self.device)
    }

    /// Reads a matrix as `[out, in]`, transposing one that is stored as `[in, out]`.
    pub(crate) fn load_matrix(
        &self,
        name: &str,
        n_out: usize,
        n_in: usize,
        transposed: bool,
    ) -> Result<Tensor> {
        if transposed {
            Ok(self
                .load(name, &[n_in, n_out])?
                .f_transpose(0, 1)?
                .f_contiguous()?)
        } else {
            self.load(name, &[n_out, n_in])
        }
    }
}

/// A tensor of `shape` on `device` with the elements of `data`, row-major.
///
/// # Errors
/// [`Error::Torch`], also if the number of elements does not match `shape`.
pub fn from_slice(data: &[f32], shape: &[usize], device: tch::Device) -> Result<Tensor> {
    let sizes: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
    Ok(Tensor::f_from_slice(data)?
        .f_view(sizes.as_slice())?
        .f_to_device(device)?)
}

/// Token identifiers `[n_windows, window]` as a tensor; all windows have the same length.
pub(crate) fn token_tensor(windows: &[&[u32]], device: tch::Device) -> Result<Tensor> {
    let n_windows = windows.len() as i64;
    let window = windows.first().map_or(0, |window| window.len()) as i64;
    let ids: Vec<i64> = windows
        .iter()
        .flat_map(|window| window.iter().map(|&id| id.into()))
        .collect();
    Ok(Tensor::f_from_slice(&ids)?
        .f_view([n_windows, window])?
        .f_to_device(device)?)
}

/// The elements of a tensor as f32, row-major.
///
/// # Errors
/// [`Error::Torch`].
pub fn to_vec_f32(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor
        .f_detach()?
        .f_to_device(tch::Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?;
    let n_elems = flat.numel();
    let mut data = vec![0f32; n_elems];
    flat.f_copy_data(&mut data, n_elems)?;
    Ok(data)
}

/// The elements of a tensor as f64, row-major.
pub(crate) fn to_vec_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor
        .f_detach()?
        .f_to_device(tch::Device::Cpu)?
        .f_to_kind(Kind::Double)?
        .f_contiguous()?;
    let n_elems = flat.numel();
    let mut data = vec![0f64; n_elems];
    flat.f_copy_data(&mut data, n_elems)?;
    Ok(data)
}

/// A 2-D tensor as a matrix of f32.
///
/// # Errors
/// [`Error::Torch`], also if it does not have two axes.
pub fn to_matrix(tensor: &Tensor) -> Result<Array2<f32>> {
    let (rows, cols) = tensor.size2()?;
    let shape = (rows as usize, cols as usize);
    Array2::from_shape_vec(shape, to_vec_f32(tensor)?).map_err(|err| Error::Argument {
        option: "tensor",
        found: err.to_string(),
        allowed: "two axes".to_owned(),
    })
}

/// A matrix of f32 as a tensor on `device`.
///
/// # Errors
/// [`Error::Torch`].
pub fn from_matrix(matrix: &Array2<f32>, device: tch::Device) -> Result<Tensor> {
    let shape = [matrix.nrows(), matrix.ncols()];
    match matrix.as_slice() {
        Some(data) => from_slice(data, &shape, device),
        None => from_slice(&matrix.iter().copied().collect::<Vec<_>>(), &shape, device),
    }
}

/// Whether every element is finite.
pub(crate) fn all_finite(tensor: &Tensor) -> Result<bool> {
    // A sum in f64 is finite exactly when all f32 summands are, and takes one pass without a mask.
    let sum = tensor.f_abs()?.f_sum(Kind::Double)?;
    Ok(sum.f_double_value(&[])?.is_finite())
}

/// Runs `f` without recording gradients.
///
/// # Errors
/// What `f` returns.
pub fn without_grad<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    tch::no_grad(f)
}
