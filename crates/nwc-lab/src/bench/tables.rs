//! The figures as tables.

use super::Bench;
use crate::report::{Cell, Table};

/// Every table, in the order in which they are printed.
pub(super) fn tables(bench: &Bench) -> Vec<Table> {
    vec![
        entropy(bench),
        synthesis(bench),
        trellis(bench),
        runs(bench),
        single(bench),
        goals(bench),
    ]
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        title: title.into(),
        columns: columns.iter().map(|&column| column.into()).collect(),
        rows,
        note: None,
    }
}

fn entropy(bench: &Bench) -> Table {
    let copy = bench.kernels.memory_copy_bytes_per_s;
    let rows = bench.kernels.entropy.iter().map(|row| {
        let stored = row.stored_bytes_per_s;
        // Symbols are handed over as i32.
        let output = 4.0 * row.symbols_per_s;
        vec![
            row.what.into(),
            Cell::number(row.symbols_per_s / 1e6, 0),
            stored.map_or("".into(), |bytes| Cell::number(bytes / 1e9, 2)),
            Cell::number(output / 1e9, 2),
            Cell::number(output / copy, 2),
        ]
    });
    let title = format!(
        "Entropy coding, one thread (a copy in memory: {:.1} GB/s)",
        copy / 1e9
    );
    let columns = [
        "what",
        "M symbols/s",
        "stored GB/s",
        "symbols GB/s",
        "of a copy",
    ];
    table(&title, &columns, rows.collect())
}

fn synthesis(bench: &Bench) -> Table {
    let rows = bench.kernels.synthesis.iter().map(|row| {
        vec![
            row.preset.into(),
            Cell::number(row.width as f64, 0),
            Cell::number(row.weights_per_s / 1e6, 2),
            Cell::number(row.products_per_s / 1e6, 2),
            Cell::number(row.share_of_products(), 2),
            Cell::number(row.square_product_per_s / 1e6, 2),
            Cell::number(row.share_of_square(), 2),
        ]
    });
    let columns = [
        "preset",
        "width",
        "M weights/s",
        "its products alone",
        "share",
        "a large product",
        "share of that",
    ];
    table("Synthesis, one thread", &columns, rows.collect())
}

fn trellis(bench: &Bench) -> Table {
    let rows = bench.kernels.trellis.iter();
    let rows = rows.map(|row| vec![row.what.into(), Cell::number(row.weights_per_s / 1e6, 1)]);
    table(
        "Trellis, 8 states, one thread",
        &["what", "M weights/s"],
        rows.collect(),
    )
}

fn runs(bench: &Bench) -> Table {
    let rows = bench.runs.iter().map(|run| {
        let one = bench
            .runs
            .iter()
            .find(|one| (one.what, one.task, one.n_threads) == (run.what, run.task, 1));
        let ratio = one.map(|one| one.usage.wall_s / run.usage.wall_s);
        let or_none =
            |value: Option<f64>, digits| value.map_or("".into(), |x| Cell::number(x, digits));
        vec![
            run.what.into(),
            run.task.into(),
            Cell::number(run.n_threads as f64, 0),
            Cell::number(run.usage.wall_s, 2),
            or_none(run.usage.cpu_s, 2),
            Cell::number(run.weights_per_s() / 1e6, 1),
            or_none(ratio, 2),
            or_none(
                run.usage
                    .peak_bytes
                    .map(|bytes| bytes as f64 / f64::from(1 << 20)),
                0,
            ),
        ]
    });
    let columns = [
        "codec",
        "task",
        "threads",
        "s",
        "CPU s",
        "M weights/s",
        "over 1 thread",
        "peak MiB",
    ];
    table("Whole model, a process each", &columns, rows.collect())
}

fn single(bench: &Bench) -> Table {
    let rows = bench.single.iter().map(|single| {
        vec![
            single.what.into(),
            single.tensor.as_str().into(),
            Cell::number(single.open_and_decode_s * 1e3, 1),
            Cell::number(single.decode_s * 1e3, 1),
            Cell::number(single.overhead_s() * 1e3, 1),
        ]
    });
    let columns = [
        "codec",
        "tensor",
        "open and decode ms",
        "decode again ms",
        "beyond ms",
    ];
    table(
        "One tensor of a compressed checkpoint",
        &columns,
        rows.collect(),
    )
}

fn goals(bench: &Bench) -> Table {
    let rows = bench.goals.iter().map(|goal| {
        let digits = if goal.unit == "times" { 2 } else { 0 };
        vec![
            goal.what.into(),
            goal.unit.into(),
            Cell::number(goal.wanted, digits),
            Cell::number(goal.found, digits),
            if goal.is_reached() {
                "reached"
            } else {
                "missed"
            }
            .into(),
        ]
    });
    let columns = ["what", "unit", "wanted", "found", ""];
    table("Against what was asked for", &columns, rows.collect())
}
