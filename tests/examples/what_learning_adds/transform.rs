//! What a linear transform over 16 neighbouring weights could gain at most: from their covariance.
//!
//! At high rate the best transform of a Gaussian vector saves `-log2 det C / 32` bits a weight, with C its
//! correlation; predicting each weight from those before it saves as much. Coefficients come from one half of
//! the data, variances from the other, so that noise does not count as a gain.

use serde_json::{Value, json};

use crate::Result;
use crate::data::{Matrix, Targets};

/// Weights in a vector.
const N: usize = 16;
/// Bits a stored coefficient is taken to cost.
const COEFFICIENT_BITS: f64 = 8.0;

/// Adds the vectors of a matrix, taken in some direction.
type Add = fn(&Matrix, &mut Covariance);

/// Sums of products of the weights of a vector.
#[derive(Clone)]
struct Covariance([[f64; N]; N]);

/// The bounds: one transform a kind of layer down the rows, along the columns, and one for every 16 rows.
pub(crate) fn measure(targets: &Targets) -> Result<Value> {
    let mut rows = Vec::new();
    let directions: [(&str, Add); 2] = [
        ("16 rows of a column, one transform a kind", add_rows),
        ("16 columns of a row, one transform a kind", add_columns),
    ];
    for (name, add) in directions {
        let (mut gain, mut n_weights) = (0.0, 0);
        let mut by_kind = serde_json::Map::new();
        for kind in kinds(&targets.measured) {
            let mut fitted = Covariance::new();
            let mut measured = Covariance::new();
            let of_kind = |m: &&Matrix| m.kind == kind;
            targets
                .fitted
                .iter()
                .filter(of_kind)
                .for_each(|m| add(m, &mut fitted));
            let n: usize = targets
                .measured
                .iter()
                .filter(of_kind)
                .map(|m| m.values.len())
                .sum();
            targets
                .measured
                .iter()
                .filter(of_kind)
                .for_each(|m| add(m, &mut measured));
            let saved = gain_of(&fitted, &measured);
            gain += saved * n as f64;
            n_weights += n;
            by_kind.insert(kind, json!(saved));
        }
        rows.push(row(name, gain / n_weights as f64, 0.0, by_kind.into()));
    }
    rows.push(own_transforms(&targets.measured));
    Ok(Value::Array(rows))
}

/// A transform of its own for every 16 rows, fitted to the even columns and measured on the odd ones.
fn own_transforms(matrices: &[Matrix]) -> Value {
    let (mut gain, mut side, mut n_weights) = (0.0, 0.0, 0.0);
    let mut by_kind = serde_json::Map::new();
    for matrix in matrices {
        let mut of_matrix = 0.0;
        let mut n_groups = 0.0;
        for first in (0..matrix.rows.saturating_sub(N - 1)).step_by(N) {
            let mut halves = [Covariance::new(), Covariance::new()];
            for col in 0..matrix.cols {
                let vector = std::array::from_fn(|k| normalised(matrix, first + k, col));
                halves[col % 2].add(&vector);
            }
            of_matrix += gain_of(&halves[0], &halves[1]);
            n_groups += 1.0;
        }
        let n = (n_groups * N as f64) * matrix.cols as f64;
        gain += of_matrix / n_groups * n;
        side += n_groups * (N * (N - 1) / 2) as f64 * COEFFICIENT_BITS;
        n_weights += n;
        by_kind.insert(matrix.kind.clone(), json!(of_matrix / n_groups));
    }
    let name = "16 rows of a column, a transform of their own";
    row(name, gain / n_weights, side / n_weights, by_kind.into())
}

fn row(name: &str, gain: f64, side: f64, by_kind: Value) -> Value {
    println!("  {name:48} saves at most {gain:+.4}, coefficients cost {side:.4}");
    json!({ "what": name, "bound": gain, "side_bits": side, "saved": gain - side, "by_kind": by_kind })
}

fn kinds(matrices: &[Matrix]) -> Vec<String> {
    let mut kinds: Vec<String> = matrices.iter().map(|m| m.kind.clone()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn normalised(matrix: &Matrix, row: usize, col: usize) -> f64 {
    f64::from(matrix.values[col * matrix.rows + row] / matrix.sigma(row, col))
}

fn add_rows(matrix: &Matrix, covariance: &mut Covariance) {
    for col in 0..matrix.cols {
        for first in (0..matrix.rows.saturating_sub(N - 1)).step_by(N) {
            covariance.add(&std::array::from_fn(|k| normalised(matrix, first + k, col)));
        }
    }
}

fn add_columns(matrix: &Matrix, covariance: &mut Covariance) {
    for row in 0..matrix.rows {
        for first in (0..matrix.cols.saturating_sub(N - 1)).step_by(N) {
            covariance.add(&std::array::from_fn(|k| normalised(matrix, row, first + k)));
        }
    }
}

impl Covariance {
    fn new() -> Self {
        Self([[0.0; N]; N])
    }

    fn add(&mut self, vector: &[f64; N]) {
        for (row, a) in self.0.iter_mut().zip(vector) {
            for (sum, b) in row.iter_mut().zip(vector) {
                *sum += a * b;
            }
        }
    }
}

/// Bits a weight that predicting each weight from those before saves on `measured`, coefficients from `fitted`.
fn gain_of(fitted: &Covariance, measured: &Covariance) -> f64 {
    let mut saved = 0.0;
    for k in 1..N {
        let coefficients = predictor(&fitted.0, k);
        let mut error = measured.0[k][k];
        for (i, a) in coefficients.iter().enumerate() {
            error -= 2.0 * a * measured.0[k][i];
            for (j, b) in coefficients.iter().enumerate() {
                error += a * b * measured.0[i][j];
            }
        }
        saved += 0.5 * (measured.0[k][k] / error).log2();
    }
    saved / N as f64
}

/// Coefficients of the best linear prediction of entry `k` from those before it, by elimination.
fn predictor(covariance: &[[f64; N]; N], k: usize) -> Vec<f64> {
    let mut system: Vec<Vec<f64>> = (0..k)
        .map(|i| {
            let mut row = covariance[i][..k].to_vec();
            row.push(covariance[i][k]);
            row
        })
        .collect();
    // Covariances of weights are far from singular: no pivoting.
    for i in 0..k {
        let pivot = system[i].clone();
        for row in system.iter_mut().skip(i + 1) {
            let factor = row[i] / pivot[i];
            row.iter_mut()
                .zip(&pivot)
                .for_each(|(a, b)| *a -= factor * b);
        }
    }
    let mut solution = vec![0.0; k];
    for i in (0..k).rev() {
        let known: f64 = (i + 1..k).map(|j| system[i][j] * solution[j]).sum();
        solution[i] = (system[i][k] - known) / system[i][i];
    }
    solution
}
