//! Tables picked by what is already decoded nearby, beside the predicted scale: the gain in entropy.

use serde_json::{Value, json};

use nwc_entropy::TableSet;

use crate::Result;
use crate::data::{Matrix, Targets};
use crate::scheme::{
    MODEL_WEIGHTS, N_BUCKETS, Scheme, Variant, mirrored, mixed, place, stored, stride,
};

/// Classes of activity; one more where there are no neighbours.
const N_CLASSES: usize = 8;
const N_TABLES: usize = 2 * N_BUCKETS;

/// Neighbours by how many rows above and how many columns to the right (which feedback codes before).
struct Window {
    name: &'static str,
    neighbours: Vec<(usize, usize)>,
}

/// Quantised weights of one matrix, `[cols][rows]`.
struct Symbols {
    kind: String,
    rows: usize,
    cols: usize,
    tables: Vec<u16>,
    symbols: Vec<i32>,
    /// Squared reconstruction over squared predicted deviation.
    energy: Vec<f32>,
}

/// Bits saved by each window over tables without context.
pub(crate) fn measure(targets: &Targets) -> Result<Value> {
    let scheme = Scheme::fit(Variant::PRODUCT, &targets.fitted, 0)?;
    let fitted = quantised(&scheme, &targets.fitted);
    let measured = quantised(&scheme, &targets.measured);
    let plain = Tables::fit(&fitted, |_| Vec::new(), 1)?;
    let (plain_bits, plain_by_kind) = plain.code(&measured, |_| Vec::new());
    let mut rows = Vec::new();
    for window in windows() {
        let limits = class_limits(&fitted, &window);
        let classes = |matrix: &Symbols| classes(matrix, &window, &limits);
        let tables = Tables::fit(&fitted, classes, N_CLASSES + 1)?;
        let (bits, by_kind) = tables.code(&measured, classes);
        let more_bytes = tables.n_bytes - plain.n_bytes;
        let more_bits = 8.0 * more_bytes as f64 / MODEL_WEIGHTS;
        let saved = plain_bits - bits;
        println!(
            "  {:36} saves {saved:+.4}, less {more_bits:.4} for tables",
            window.name
        );
        let kinds: Value = plain_by_kind
            .iter()
            .zip(&by_kind)
            .map(|((kind, before), (_, after))| (kind.clone(), json!(before - after)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        rows.push(json!({
            "what": window.name, "bits": bits, "saved": saved - more_bits,
            "saved_before_tables": saved, "more_table_bytes": more_bytes, "by_kind": kinds,
        }));
    }
    Ok(Value::Array(rows))
}

fn windows() -> Vec<Window> {
    let above = |n: usize| (1..=n).map(|k| (k, 0));
    let right = |n: usize| (1..=n).map(|k| (0, k));
    let window = |name, neighbours: Vec<_>| Window { name, neighbours };
    vec![
        window("2 rows above", above(2).collect()),
        window("8 rows above", above(8).collect()),
        window("32 rows above", above(32).collect()),
        window("1 column before", right(1).collect()),
        window("4 columns before", right(4).collect()),
        window("16 columns before", right(16).collect()),
        window("32 columns before", right(32).collect()),
        window(
            "16 rows above, 16 columns before",
            above(16).chain(right(16)).collect(),
        ),
    ]
}

fn quantised(scheme: &Scheme, matrices: &[Matrix]) -> Vec<Symbols> {
    let mut result = Vec::new();
    for matrix in matrices {
        let mut out = Symbols {
            kind: matrix.kind.clone(),
            rows: matrix.rows,
            cols: matrix.cols,
            tables: Vec::with_capacity(matrix.values.len()),
            symbols: Vec::with_capacity(matrix.values.len()),
            energy: Vec::with_capacity(matrix.values.len()),
        };
        let mut col = 0;
        scheme.each_column(std::slice::from_ref(matrix), 0, |_, coded| {
            out.tables.extend(&coded.tables);
            out.symbols.extend(&coded.symbols);
            let rows = coded.values.iter().enumerate();
            out.energy
                .extend(rows.map(|(row, value)| (value / matrix.sigma(row, col)).powi(2)));
            col += 1;
        });
        result.push(out);
    }
    result
}

/// Mean energy of the neighbours of every weight; below zero where there are none.
fn activity(matrix: &Symbols, window: &Window) -> Vec<f32> {
    let mut activity = Vec::with_capacity(matrix.energy.len());
    for col in 0..matrix.cols {
        for row in 0..matrix.rows {
            let (mut sum, mut n) = (0.0, 0);
            for &(above, right) in &window.neighbours {
                if above <= row && col + right < matrix.cols {
                    sum += matrix.energy[(col + right) * matrix.rows + row - above];
                    n += 1;
                }
            }
            activity.push(if n == 0 { -1.0 } else { sum / n as f32 });
        }
    }
    activity
}

/// Activities that part the weights into equally many classes.
fn class_limits(matrices: &[Symbols], window: &Window) -> Vec<f32> {
    let mut all: Vec<f32> = matrices
        .iter()
        .flat_map(|matrix| activity(matrix, window).into_iter().step_by(17))
        .filter(|&a| a >= 0.0)
        .collect();
    all.sort_by(f32::total_cmp);
    let limit = |class: usize| all.get(class * all.len() / N_CLASSES).copied();
    (1..N_CLASSES).filter_map(limit).collect()
}

fn classes(matrix: &Symbols, window: &Window, limits: &[f32]) -> Vec<u8> {
    let class = |a: f32| match a < 0.0 {
        true => N_CLASSES,
        false => limits.partition_point(|&limit| limit < a),
    };
    let activities = activity(matrix, window).into_iter();
    activities.map(|a| class(a) as u8).collect()
}

/// A table for every class, bucket and parity, with prices in bits.
struct Tables {
    prices: Vec<f32>,
    n_bytes: usize,
}

impl Tables {
    /// Counts `matrices`; a class' tables are mixed with those of all classes together.
    fn fit(
        matrices: &[Symbols],
        classes: impl Fn(&Symbols) -> Vec<u8>,
        n_classes: usize,
    ) -> Result<Self> {
        let size = N_TABLES * stride();
        let mut counts = vec![0.0_f64; n_classes * size];
        for matrix in matrices {
            let classes = classes(matrix);
            for (idx, (&table, &symbol)) in matrix.tables.iter().zip(&matrix.symbols).enumerate() {
                let table = usize::from(table);
                let start = class_at(&classes, idx) * size;
                counts[start + place(table, symbol)] += 1.0;
                counts[start + place(table, mirrored(table, symbol))] += 1.0;
            }
        }
        let mut prices = vec![0.0; counts.len()];
        let mut tables = Vec::new();
        for table in 0..N_TABLES {
            let range = |class: usize| {
                class * size + table * stride()..class * size + (table + 1) * stride()
            };
            let mut sums = vec![0.0; stride()];
            for class in 0..n_classes {
                let counts = &counts[range(class)];
                sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
            }
            // Next to nothing for what never occurred, so that it takes no place in a stored table.
            let together = mixed(&sums, &vec![1e-8; stride()]);
            for class in 0..n_classes {
                let counts = &counts[range(class)];
                let pmf = mixed(counts, &together);
                if counts.iter().any(|&n| n > 0.0) {
                    tables.push(stored(&pmf)?);
                }
                for (price, p) in prices[range(class)].iter_mut().zip(&pmf) {
                    *price = -p.log2() as f32;
                }
            }
        }
        Ok(Self {
            prices,
            n_bytes: TableSet::new(tables)?.to_bytes().len(),
        })
    }

    /// Bits a weight of `matrices`, and of each kind.
    fn code(
        &self,
        matrices: &[Symbols],
        classes: impl Fn(&Symbols) -> Vec<u8>,
    ) -> (f64, Vec<(String, f64)>) {
        let size = N_TABLES * stride();
        let mut kinds: Vec<(String, f64, usize)> = Vec::new();
        for matrix in matrices {
            let classes = classes(matrix);
            let pairs = matrix.tables.iter().zip(&matrix.symbols).enumerate();
            let bits: f64 = pairs
                .map(|(idx, (&table, &symbol))| {
                    let start = class_at(&classes, idx) * size;
                    f64::from(self.prices[start + place(usize::from(table), symbol)])
                })
                .sum();
            match kinds.iter_mut().find(|(kind, ..)| *kind == matrix.kind) {
                Some((_, sum, n)) => {
                    *sum += bits;
                    *n += matrix.symbols.len();
                }
                None => kinds.push((matrix.kind.clone(), bits, matrix.symbols.len())),
            }
        }
        let bits: f64 = kinds.iter().map(|(_, bits, _)| bits).sum();
        let n: usize = kinds.iter().map(|(.., n)| n).sum();
        let by_kind = kinds
            .into_iter()
            .map(|(kind, bits, n)| (kind, bits / n as f64));
        (bits / n as f64, by_kind.collect())
    }
}

/// Class of a weight; an empty list means one class for all.
fn class_at(classes: &[u8], idx: usize) -> usize {
    classes.get(idx).copied().map_or(0, usize::from)
}
