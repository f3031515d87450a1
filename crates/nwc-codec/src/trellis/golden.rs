//! The fixture's trellis codec over made-up scales and symbols, and a codec file, bit for bit.

use ndarray::Array2;
use nwc_chunk::Parallelism;

use super::*;
use crate::Codec;
use crate::golden::{Made, check_golden, digest, digest_of_substreams, fixture_codec};

fn codec() -> Box<TrellisCodec> {
    match fixture_codec("trellis", "trellis-db8f7231c687") {
        Codec::Trellis(codec) => codec,
        #[cfg(feature = "neural")]
        Codec::Neural(_) => panic!("another family"),
    }
}

/// Whole and odd groups of columns, all buckets and more, all small ranks of both parities.
#[test]
fn symbols_decode_to_the_same_weights_for_ever() {
    let codec = codec();
    assert!(
        codec
            .reconstruction()
            .offsets()
            .iter()
            .filter(|&&o| o != 0)
            .count()
            > 30
    );
    let (rows, cols) = (150, 75);
    let mut made = Made::new(1);
    let mut vector = |n: usize, reach: i32| -> Vec<i8> {
        (0..n).map(|_| made.integer(-reach, reach) as i8).collect()
    };
    let scales = TensorScales {
        tensor_step: 0.011_718_75,
        row_step: vector(rows, 20),
        col_step: vector(cols, 20),
        row_rms: vector(rows, 15),
        col_rms: vector(cols, 15),
        zeros: None,
    };
    let mut symbols = TrellisSymbols::zeros(rows, cols);
    let all_rows: Vec<usize> = (0..rows).collect();
    for col in 0..cols {
        let column: Vec<i32> = (0..rows).map(|_| made.symbol()).collect();
        symbols.set_column(col, &all_rows, &column);
    }
    let stored = scales.to_bytes().unwrap();
    check_golden("trellis scales", digest(stored.iter().copied()));
    let substreams = encode(&codec, &scales, &symbols, Parallelism::Serial).unwrap();
    check_golden("trellis substreams", digest_of_substreams(&substreams));
    let is_zero = |row: usize, col: usize| (row * row + 3 * col) % 7 < 1 + col % 5;
    let weights = Array2::from_shape_fn((rows, cols), |(i, j)| match is_zero(i, j) {
        true => 0.0_f32,
        false => 1.0,
    });
    let zeros = std::sync::Arc::new(nwc_chunk::ZeroMask::of(weights.view()));
    let masked = scales.clone().with_zeros(Some(zeros));
    let sparse = encode(&codec, &masked, &symbols, Parallelism::Serial).unwrap();
    check_golden(
        "trellis substreams with zeros",
        digest_of_substreams(&sparse),
    );

    let scales = TensorScales::from_bytes(&stored, rows, cols).unwrap();
    let substreams: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    let mut weights = Array2::zeros((rows, cols));
    let out = weights.view_mut();
    decode(&codec, &scales, &substreams, out, Parallelism::Serial).unwrap();
    let bits = weights.iter().flat_map(|w: &f32| w.to_bits().to_le_bytes());
    check_golden("trellis weights", digest(bits));
}

/// A quantiser's choices are no format, but files are to be the same from one version to the next.
#[test]
fn a_matrix_is_coded_to_the_same_bytes() {
    let codec = codec();
    let (rows, cols) = (120, 40);
    let mut made = Made::new(2);
    // Sums of four: a bell without any libm.
    let weights = Array2::from_shape_simple_fn((rows, cols), || {
        (0..4).map(|_| made.integer(-1000, 1001)).sum::<i32>() as f32 / 4096.0
    });
    let factors = StepFactors {
        rows: (0..rows).map(|_| made.integer(-4, 5) as i8).collect(),
        cols: (0..cols).map(|_| made.integer(-4, 5) as i8).collect(),
        tensor_log2: -3.0,
    };
    let prediction = ScalePrediction::fit(weights.view(), None, &factors, 0.75).unwrap();
    let scales = TensorScales::new(&factors, &prediction, 0.75);
    let mut quantizer = TrellisQuantizer::new(&codec, &scales, rows, cols).unwrap();
    let mut reconstruction = vec![0.0; rows];
    for col in 0..cols {
        let target = weights.column(col).to_vec();
        quantizer
            .quantize_column(col, &target, &mut reconstruction)
            .unwrap();
    }
    let symbols = quantizer.finish().unwrap();
    let substreams = encode(&codec, &scales, &symbols, Parallelism::Serial).unwrap();
    check_golden(
        "trellis scales of a matrix",
        digest(scales.to_bytes().unwrap()),
    );
    check_golden(
        "trellis substreams of a matrix",
        digest_of_substreams(&substreams),
    );
}
