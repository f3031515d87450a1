//! One tensor opened for reading into the caller's memory, whole or in part.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use nwc_chunk::ndarray::{ArrayViewMut2, Axis, s};
use nwc_format::{DType, TensorRecord};
use rayon::prelude::*;

use super::compressed::{CompressedShard, not_a_float};
use crate::family::OpenMatrix;
use crate::folder::{SourceShard, SourceTensor};
use crate::planes::StoredPlanes;
use crate::{Error, Result, TensorError};

/// A tensor whose sections have been checked, ready to be decoded into a buffer of the caller.
///
/// Made by [`Checkpoint::reader`](crate::Checkpoint::reader). Values come in the tensor's own dtype, little-endian,
/// row-major, the same bytes as in a decompressed folder. The tensor counts as a matrix here, see
/// [`TensorReader::matrix_shape`].
#[derive(Debug)]
pub struct TensorReader<'a> {
    path: &'a Path,
    name: &'a str,
    dtype: DType,
    shape: &'a [usize],
    rows: usize,
    cols: usize,
    stored: Stored<'a>,
    origin: Origin<'a>,
}

/// What there is to read.
#[derive(Debug)]
pub(super) enum Stored<'a> {
    /// The tensor's bytes.
    Bytes(Cow<'a, [u8]>),
    /// Planes of a tensor that was coded without loss.
    Planes(StoredPlanes<'a>),
    /// Sections of a coded matrix, with its rows and columns in the stored tensor.
    Matrix(OpenMatrix<'a>, (usize, usize)),
}

/// Where the sections lie.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    Plain(&'a SourceShard, &'a SourceTensor),
    Compressed(&'a CompressedShard, &'a TensorRecord),
}

impl<'a> TensorReader<'a> {
    pub(super) fn new(
        (path, name): (&'a Path, &'a str),
        (dtype, shape): (DType, &'a [usize]),
        stored: Stored<'a>,
        origin: Origin<'a>,
    ) -> Result<Self> {
        let (cols, leading) = shape.split_last().map_or((1, shape), |(c, l)| (*c, l));
        let rows = leading.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let (rows, cols) = match &stored {
            Stored::Bytes(_) | Stored::Planes(_) => (rows, cols),
            Stored::Matrix(_, (rows, cols)) => (Some(*rows), *cols),
        };
        let n_bytes = rows.and_then(|n| n.checked_mul(cols)?.checked_mul(dtype.size()));
        let (Some(rows), Some(n_bytes)) = (rows, n_bytes) else {
            let found = format!("{shape:?}");
            return Err(wrong(path, name, "shape", found, "fewer elements"));
        };
        if let Stored::Bytes(bytes) = &stored
            && bytes.len() != n_bytes
        {
            let expected = format!("{n_bytes} bytes");
            let found = format!("{} bytes", bytes.len());
            return Err(wrong(path, name, "length", found, &expected));
        }
        Ok(Self {
            path,
            name,
            dtype,
            shape,
            rows,
            cols,
            stored,
            origin,
        })
    }

    /// The tensor's dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &[usize] {
        self.shape
    }

    /// Rows and columns of the tensor as a matrix: mostly its last dimension is the columns and all others are folded
    /// into the rows, but a coded one is folded as it was coded.
    pub fn matrix_shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Bytes of the whole tensor.
    pub fn n_bytes(&self) -> usize {
        self.rows * self.cols * self.dtype.size()
    }

    /// Decodes the whole tensor into `out`, on the rayon pool of the caller.
    ///
    /// A matrix of the trellis never is in memory a second time, only a panel of it a thread; one of a learned codec
    /// is there as f32 meanwhile.
    ///
    /// # Errors
    /// [`Error::Argument`] where `out` has another length than [`TensorReader::n_bytes`]; [`Error::Tensor`] where the
    /// tensor is damaged, and what `out` holds is meaningless then.
    pub fn read_into(&self, out: &mut [u8]) -> Result<()> {
        self.slice_into(0..self.rows, 0..self.cols, out)
    }

    /// Decodes a sample of a coded tensor; others have been read whole by now.
    #[cfg(feature = "encode")]
    pub(super) fn check_sample(&self) -> Result<()> {
        match &self.stored {
            Stored::Bytes(_) => Ok(()),
            Stored::Planes(planes) => planes.check_sample(),
            Stored::Matrix(matrix, _) => matrix.check_sample(),
        }
        .map_err(|e| Error::tensor(self.path, self.name, e))
    }

    /// Decodes the given rows and columns into `out`, row-major.
    ///
    /// Whole substreams are decoded: those of the columns asked for. All of them hold all rows, so that fewer rows
    /// take less memory but no less time (the other way about where a matrix was transposed before it was coded).
    /// Tensors that are not coded, and those of learned codecs, are cut from the whole; of those that are coded without
    /// loss, the substreams are decoded that hold some of the rows.
    ///
    /// # Errors
    /// As [`TensorReader::read_into`], and [`Error::Argument`] where a range lies outside the tensor.
    pub fn slice_into(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [u8]) -> Result<()> {
        check_range("rows", &rows, self.rows)?;
        check_range("columns", &cols, self.cols)?;
        let expected = rows.len() * cols.len() * self.dtype.size();
        if out.len() != expected {
            return Err(Error::Argument {
                argument: "length of the buffer",
                found: out.len().to_string(),
                allowed: format!("{expected}, the bytes of what is read of {}", self.name),
            });
        }
        if expected == 0 {
            return Ok(());
        }
        match &self.stored {
            Stored::Bytes(bytes) => {
                let row_bytes = self.cols * self.dtype.size();
                self.cut(&bytes[rows.start * row_bytes..], cols, out);
                Ok(())
            }
            Stored::Planes(planes) => {
                let wrong = |e| Error::tensor(self.path, self.name, e);
                if out.len() == self.n_bytes() {
                    return planes.read_into(out).map_err(wrong);
                }
                let elems = rows.start * self.cols..rows.end * self.cols;
                let (bytes, n_before) = planes.part(&elems).map_err(wrong)?;
                self.cut(&bytes[n_before * self.dtype.size()..], cols, out);
                Ok(())
            }
            Stored::Matrix(matrix, _) => {
                let wrong = |e| Error::tensor(self.path, self.name, e);
                let ranges = (rows, cols);
                match self.dtype {
                    DType::F32 => fill(matrix, ranges, out, f32::to_le_bytes).map_err(wrong),
                    DType::F16 => {
                        let convert = |value| f16::from_f32(value).to_le_bytes();
                        fill(matrix, ranges, out, convert).map_err(wrong)
                    }
                    DType::BF16 => {
                        let convert = |value| bf16::from_f32(value).to_le_bytes();
                        fill(matrix, ranges, out, convert).map_err(wrong)
                    }
                    other => Err(not_a_float(self.path, self.name, other)),
                }
            }
        }
    }
}

impl TensorReader<'_> {
    /// Copies the columns `cols` of whole `rows` to `out`, as many as fit.
    fn cut(&self, rows: &[u8], cols: Range<usize>, out: &mut [u8]) {
        let size = self.dtype.size();
        let rows = rows.chunks_exact(self.cols * size);
        for (row, out) in rows.zip(out.chunks_exact_mut(cols.len() * size)) {
            out.copy_from_slice(&row[cols.start * size..cols.end * size]);
        }
    }
}

/// Gives the memory of the mapped sections back.
impl Drop for TensorReader<'_> {
    fn drop(&mut self) {
        match self.origin {
            Origin::Plain(shard, tensor) => shard.forget(tensor),
            Origin::Compressed(shard, record) => {
                for section in &record.sections {
                    shard.forget(section);
                }
            }
        }
    }
}

/// Decodes the panels that hold some of the columns, and writes what of them was asked for.
fn fill<const N: usize>(
    matrix: &OpenMatrix<'_>,
    (rows, cols): (Range<usize>, Range<usize>),
    out: &mut [u8],
    convert: impl Fn(f32) -> [u8; N] + Sync,
) -> Result<(), TensorError> {
    let out = out.as_chunks_mut().0;
    let out = ArrayViewMut2::from_shape((rows.len(), cols.len()), out)
        .expect("the length was checked against the shape");
    // From here on in the coordinates of the matrix as it was coded.
    let (rows, cols, mut rest) = match matrix.is_transposed {
        true => (cols, rows, out.reversed_axes()),
        false => (rows, cols, out),
    };
    let mut jobs = Vec::new();
    for (panel, columns) in matrix.columns().iter().enumerate() {
        let wanted = columns.start.max(cols.start)..columns.end.min(cols.end);
        if wanted.is_empty() {
            continue;
        }
        let (part, right) = rest.split_at(Axis(1), wanted.len());
        let wanted = wanted.start - columns.start..wanted.end - columns.start;
        jobs.push((panel, wanted, part));
        rest = right;
    }
    jobs.into_par_iter()
        .with_max_len(1)
        .try_for_each(|(panel, wanted, mut part)| {
            let decoded = matrix.decode(panel)?;
            let decoded = decoded.slice(s![rows.clone(), wanted]);
            for (mut out, values) in part.rows_mut().into_iter().zip(decoded.rows()) {
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = convert(value);
                }
            }
            Ok(())
        })
}

fn check_range(argument: &'static str, found: &Range<usize>, n: usize) -> Result<()> {
    if found.start <= found.end && found.end <= n {
        return Ok(());
    }
    Err(Error::Argument {
        argument,
        found: format!("{found:?}"),
        allowed: format!("a range in 0..{n}"),
    })
}

fn wrong(path: &Path, name: &str, what: &'static str, found: String, expected: &str) -> Error {
    let source = TensorError::Record {
        what,
        found,
        expected: expected.into(),
    };
    Error::tensor(path, name, source)
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::{Array2, ArrayView2};

    use super::*;
    use crate::family::Panels;

    /// A 5 × 7 matrix in three panels.
    #[derive(Debug)]
    struct Counting([Range<usize>; 3]);

    const ROWS: usize = 5;
    const COLS: usize = 7;

    fn value(row: usize, col: usize) -> f32 {
        (10 * row + col) as f32
    }

    impl Panels for Counting {
        fn columns(&self) -> &[Range<usize>] {
            &self.0
        }

        fn decode(&self, panel: usize) -> Result<Array2<f32>, TensorError> {
            let columns = self.0[panel].clone();
            Ok(Array2::from_shape_fn(
                (ROWS, columns.len()),
                |(row, col)| value(row, columns.start + col),
            ))
        }
    }

    fn check(is_transposed: bool, rows: Range<usize>, cols: Range<usize>) {
        let matrix = OpenMatrix::of(Box::new(Counting([0..3, 3..4, 4..COLS])), is_transposed);
        let mut out = vec![0; rows.len() * cols.len() * 4];
        let ranges = (rows.clone(), cols.clone());
        fill(&matrix, ranges, &mut out, f32::to_le_bytes).unwrap();
        let out: Vec<f32> = out
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        let out = ArrayView2::from_shape((rows.len(), cols.len()), &out).unwrap();
        for ((i, j), &found) in out.indexed_iter() {
            let (row, col) = (rows.start + i, cols.start + j);
            let expected = match is_transposed {
                true => value(col, row),
                false => value(row, col),
            };
            assert_eq!(found, expected, "{rows:?} {cols:?} at {i} {j}");
        }
    }

    #[test]
    fn every_part_of_a_matrix() {
        for a in 0..ROWS {
            for b in a + 1..=ROWS {
                for c in 0..COLS {
                    for d in c + 1..=COLS {
                        check(false, a..b, c..d);
                        check(true, c..d, a..b);
                    }
                }
            }
        }
    }
}
