//! What docs/FORMAT.md prints is what the code does: the tables of a trellis' side information.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc_codec::trellis::TensorScales;
use nwc_entropy::{CdfTable, StreamEncoder, TableSet};

const DOCUMENT: &str = include_str!("../../docs/FORMAT.md");
const REACH: i32 = 48;
const DELTA: u8 = 0x80;

/// The tables as the document prints them: the masses of 0, 1, 2, …, 1 from there on, and the negative symbol that has
/// one more.
fn documented() -> TableSet {
    let (_, rows) = DOCUMENT
        .split_once("| table | masses | one more |\n|---|---|---|\n")
        .unwrap();
    let rows = rows.lines().take_while(|line| line.starts_with('|'));
    let tables = rows.enumerate().map(|(idx, row)| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1], idx.to_string());
        let masses: Vec<u32> = cells[2].split(' ').map(|m| m.parse().unwrap()).collect();
        let one_more = cells[3]
            .strip_prefix('−')
            .map(|k| -k.parse::<i32>().unwrap());
        let mut cdf = vec![0];
        let mut sum = 0;
        for symbol in -REACH..=REACH {
            let place = symbol.unsigned_abs() as usize;
            sum += masses.get(place).copied().unwrap_or(1) + u32::from(one_more == Some(symbol));
            cdf.push(sum);
        }
        // What is left is the escape's, as the document says.
        assert_eq!(sum + 1, 1 << 14, "table {idx}");
        cdf.push(sum + 1);
        CdfTable::from_cdf(cdf, -REACH, 14).unwrap()
    });
    TableSet::new(tables.collect()).unwrap()
}

/// Side information written by the document alone, each vector under table `table`.
fn write(tables: &TableSet, table: u8, vectors: [&[i8]; 4], is_delta: bool) -> Vec<u8> {
    let mut bytes = 0.5_f32.to_le_bytes().to_vec();
    let mut encoder = StreamEncoder::new(tables);
    for vector in vectors {
        let base = 3_i8;
        bytes.extend([table | if is_delta { DELTA } else { 0 }, base as u8]);
        let mut before = base;
        for &entry in vector {
            let symbol = i32::from(entry) - i32::from(before);
            encoder.push_step(&[u16::from(table)], &[symbol]).unwrap();
            if is_delta {
                before = entry;
            }
        }
    }
    bytes.extend(encoder.finish());
    bytes
}

#[test]
fn the_sixteen_tables_are_those_of_the_code() {
    let tables = documented();
    assert_eq!(tables.len(), 16);
    // Every symbol, and some that escape; differences there and back.
    let all: Vec<i8> = (-60..=60).collect();
    let steps: Vec<i8> = (0..=60).flat_map(|k| [k, -k]).collect();
    for table in 0..16 {
        for is_delta in [false, true] {
            let (rows, cols) = (all.len(), steps.len());
            let vectors: [&[i8]; 4] = [&all, &steps, &steps[..rows], &steps];
            let bytes = write(&tables, table, vectors, is_delta);
            let scales = TensorScales::from_bytes(&bytes, rows, cols).unwrap();
            assert_eq!(scales.tensor_step, 0.5);
            assert_eq!(scales.row_step, all, "table {table}");
            assert_eq!(scales.col_step, steps, "table {table}");
            assert_eq!(scales.row_rms, steps[..rows], "table {table}");
            assert_eq!(scales.col_rms, steps, "table {table}");
        }
    }
}
