//! What only learned codecs are told: quality levels and what rows are divided by.

use nwc::ndarray::{Array2, Axis};
use nwc::{Checkpoint, CodecChoice, CompressOptions, NoProgress, Normalization, QualityLevels};
use nwc_tests::{TestTensor, gaussian, write_checkpoint};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use crate::case::{COLS, Case, ROWS, UP, error_of, guided, row};

#[test]
fn important_columns_get_higher_quality_levels() {
    let case = Case::new(false);
    let codec = CodecChoice::Pretrained { lambda: 100.0 };
    let mut options = guided(codec, &case.path("stats"));
    options.ablation.feedback = None;
    options.quality_levels = Some(QualityLevels::Shares(vec![0.2, 0.1]));
    case.compress("levels", &options);
    options.quality_levels = Some(QualityLevels::Shares(vec![0.3]));
    case.compress("two", &options);
    options.quality_levels = Some(QualityLevels::Shares(vec![]));
    case.compress("flat", &options);
    let diagonal: Vec<f32> = case.hessian.diag().to_vec();
    let mut sorted = diagonal.clone();
    sorted.sort_by(f32::total_cmp);
    let limit = sorted[COLS - 6];
    let of = |name: &str, is_important: bool| {
        error_of(&case, name, Axis(1), |j| {
            (diagonal[j] >= limit) == is_important
        })
    };
    assert!(of("two", true) < 0.7 * of("flat", true));
    assert!(of("levels", true) < 0.7 * of("two", true));
    assert!(of("levels", false) > 0.5 * of("flat", false));
}

#[test]
fn quality_levels_are_the_papers_where_none_are_asked_for() {
    let case = Case::new(false);
    let codec = CodecChoice::Pretrained { lambda: 100.0 };
    let bits = |name: &str, levels: Option<QualityLevels>| {
        let mut options = guided(codec.clone(), &case.path("stats"));
        options.quality_levels = levels;
        row(&case.compress(name, &options), UP).bpw
    };
    let paper = bits("paper", Some(QualityLevels::paper()));
    assert_eq!(bits("default", None), paper);
    assert!(paper > bits("flat", Some(QualityLevels::Shares(vec![]))));
}

#[test]
fn rows_of_any_scale_are_alike_unless_the_tensor_is_normalised_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let scale = |i: usize| 0.01 * 2_f32.powi((i % 4) as i32);
    let up = Array2::from_shape_fn((ROWS, COLS), |(i, _)| scale(i) * gaussian(&mut rng));
    let values: Vec<f32> = up.iter().copied().collect();
    let stored = TestTensor::from_values(UP, &[ROWS, COLS], Dtype::F32, &values);
    let model = dir.path().join("model");
    write_checkpoint(&model, &[vec![stored]]);
    // Relative error of the smallest rows over that of the largest.
    let ratio = |name: &str, normalization: Normalization| {
        let mut options = CompressOptions::new(CodecChoice::Pretrained { lambda: 100.0 });
        options.ablation.normalization = normalization;
        let out = dir.path().join(name);
        nwc::compress(&model, &out, &options, &NoProgress).unwrap();
        let restored = Checkpoint::open(&out).unwrap().tensor(UP).unwrap();
        let delta = Array2::from_shape_vec((ROWS, COLS), restored).unwrap() - &up;
        let error = |which: usize| -> f32 {
            let rows = (which..ROWS).step_by(4);
            rows.map(|i| (delta.row(i).mapv(|e| e * e) / scale(i).powi(2)).sum())
                .sum()
        };
        error(0) / error(3)
    };
    let (rows, tensor) = (
        ratio("rows", Normalization::Rows),
        ratio("tensor", Normalization::Tensor),
    );
    assert!((0.5..2.0).contains(&rows), "{rows}");
    assert!(tensor > 8.0, "{tensor}");
}
