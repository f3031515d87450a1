//! A checkpoint folder opened for reading.

use std::path::PathBuf;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use crate::error::raise;
use crate::pool::pool;

/// A weight file: name, names of tensors, metadata.
type ShardParts<'py> = (String, Vec<String>, Bound<'py, PyDict>);

/// A checkpoint folder, compressed or plain: headers only, tensors are decoded when they are asked for.
///
/// The view may be used by many threads at once and after a fork.
#[pyclass(frozen, subclass, module = "nwc._nwc")]
pub(crate) struct Checkpoint {
    inner: nwc::Checkpoint,
}

#[pymethods]
impl Checkpoint {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = py.detach(|| nwc::Checkpoint::open(path));
        Ok(Self {
            inner: inner.map_err(|e| raise(py, &e))?,
        })
    }

    /// The folder.
    #[getter]
    fn path(&self) -> PathBuf {
        self.inner.dir().into()
    }

    /// Whether the weights are compressed by nwc.
    #[getter]
    fn is_compressed(&self) -> bool {
        self.inner.is_compressed()
    }

    /// Names of all tensors, in file order.
    fn names(&self) -> Vec<String> {
        self.inner.names().map(str::to_owned).collect()
    }

    /// Shape and dtype of a tensor, the dtype by its name in safetensors.
    fn shape_and_dtype(&self, py: Python<'_>, name: &str) -> PyResult<(Vec<usize>, String)> {
        let info = self.inner.info(name).map_err(|e| raise(py, &e))?;
        Ok((info.shape, info.dtype.to_string()))
    }

    /// The weight files: name, names of tensors, the original file's metadata.
    fn shards<'py>(&self, py: Python<'py>) -> PyResult<Vec<ShardParts<'py>>> {
        let shards = self.inner.shards().into_iter();
        shards
            .map(|shard| {
                let metadata = PyDict::new(py);
                for (key, value) in shard.metadata {
                    metadata.set_item(key, value)?;
                }
                let names = shard.names.into_iter().map(str::to_owned).collect();
                Ok((shard.file_name.to_owned(), names, metadata))
            })
            .collect()
    }

    /// A tensor's bytes as they stand in an ordinary checkpoint: little-endian, its own dtype, row-major.
    fn tensor_bytes<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyByteArray>> {
        self.part(py, name, None)
    }

    /// Rows and columns of a tensor as the matrix that `slice_bytes` cuts.
    fn matrix_shape(&self, py: Python<'_>, name: &str) -> PyResult<(usize, usize)> {
        let reader = py.detach(|| self.inner.reader(name));
        Ok(reader.map_err(|e| raise(py, &e))?.matrix_shape())
    }

    /// The bytes of rows `rows[0]..rows[1]` and columns `cols[0]..cols[1]` of the tensor as a matrix.
    fn slice_bytes<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        rows: (usize, usize),
        cols: (usize, usize),
    ) -> PyResult<Bound<'py, PyByteArray>> {
        self.part(py, name, Some((rows, cols)))
    }
}

impl Checkpoint {
    fn part<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        part: Option<((usize, usize), (usize, usize))>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let opened = py.detach(|| Ok((pool(None)?, self.inner.reader(name)?)));
        let (pool, reader) = opened.map_err(|e| raise(py, &e))?;
        let (n_rows, n_cols) = reader.matrix_shape();
        let ((r0, r1), (c0, c1)) = part.unwrap_or(((0, n_rows), (0, n_cols)));
        let is_inside = r0 <= r1 && r1 <= n_rows && c0 <= c1 && c1 <= n_cols;
        // Outside, the reader refuses an empty buffer and says what is allowed.
        let n_elems = if is_inside { (r1 - r0) * (c1 - c0) } else { 0 };
        let n_bytes = n_elems * reader.dtype().size();
        PyByteArray::new_with(py, n_bytes, |out| {
            // A panic must not unwind into Python's allocator.
            let result = py.detach(|| {
                pool.install(|| {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        reader.slice_into(r0..r1, c0..c1, out)
                    }))
                })
            });
            match result {
                Ok(result) => result.map_err(|e| raise(py, &e)),
                Err(_) => Err(PyRuntimeError::new_err(format!("decoding {name} panicked"))),
            }
        })
    }
}
