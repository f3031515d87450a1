//! What is planned from a part of the weights against what coding all of them gives.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc_chunk::ndarray::{Array1, Array2};
use nwc_codec::trellis::{TrellisCodec, TrellisConfig};

use super::coder::TrellisCoder;
use super::plan::{self, Aim, Request, align, kept_layers};
use super::rows::stored_bits;
use super::sample::{Sample, tensor_scales};
use super::search::{At, Search};
use crate::family::testing::{Matrix, random, second_moment, with_layers};
use crate::family::{Layers, MatrixCoder as _, Sizes};
use crate::options::{Cancel, CodecChoice, Feedback, NoProgress, RateTarget, Steps};
use crate::report::Totals;
use crate::survey::Keep;

const A: &str = "model.layers.0.mlp.up_proj.weight";
const B: &str = "model.layers.1.mlp.up_proj.weight";
const C: &str = "model.layers.2.mlp.up_proj.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

fn feedback() -> Option<Feedback> {
    Some(Feedback::recommended(&CodecChoice::bits(4.0)))
}

/// The step at which the matrix of `sample` takes about `bits` a weight.
fn delta_for(sample: &Sample<'_>, bits: f64) -> f64 {
    (sample.log2_ratio + 1.05 - bits).exp2()
}

fn parametric() -> TrellisCodec {
    TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap()
}

fn sample<'a>(layers: &'a Layers<'a>, idx: usize, share: f64, steps: Steps) -> Sample<'a> {
    Sample::new(layers.all()[idx], layers, Keep::Yes, share, steps).unwrap()
}

fn request(target: RateTarget) -> Request {
    Request {
        target,
        n_states: 8,
        embedding_bits: None,
        steps: Steps::Full,
        sizes: Sizes {
            other_bytes: 0,
            n_params: 0,
        },
    }
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    let off = found / expected - 1.0;
    assert!(
        off.abs() <= tolerance,
        "{found} against {expected}: off by {off}"
    );
}

/// Inputs that have nothing to do with each other.
fn diagonal(dim: usize, of: impl Fn(usize) -> f32) -> Array2<f32> {
    Array2::from_diag(&Array1::from_shape_fn(dim, of))
}

/// Columns that grow in weight and in importance from the first to the last.
fn with_a_trend() -> Matrix {
    let (rows, cols) = (64, 512);
    let octaves = |j: usize| 2.0 * j as f32 / cols as f32;
    let mut weights = 0.02 * random(rows, cols, 1);
    for (j, mut col) in weights.columns_mut().into_iter().enumerate() {
        col *= octaves(j).exp2();
    }
    let hessian = diagonal(cols, |j| (2.0 * octaves(j)).exp2());
    let fisher = (0..rows).map(|i| 0.01 * (1 + i % 4) as f32).collect();
    Matrix::guided(A, weights, hessian, fisher)
}

#[test]
fn some_columns_stand_for_all() {
    with_layers(&[with_a_trend()], None, |layers| {
        // One step for all, so that columns and rows cost what their importance says.
        let whole = sample(layers, 0, 1.0, Steps::Layer);
        let some = sample(layers, 0, 1.0 / 16.0, Steps::Layer);
        assert_eq!((whole.col_idx.len(), some.col_idx.len()), (512, 32));
        let delta = delta_for(&whole, 4.0);
        assert_close(some.log2_ratio, whole.log2_ratio, 0.01);
        let predict = |s: &Sample<'_>| s.predict(&parametric(), delta, Cancel(&NoProgress));
        let (some, whole) = (predict(&some).unwrap(), predict(&whole).unwrap());
        assert_close(some.bits, whole.bits, 0.01);
        assert_close(some.kl, whole.kl, 0.05);
    });
}

#[test]
fn the_kl_is_half_of_what_errors_weigh() {
    let matrix = with_a_trend();
    let (hessian, fisher) = (matrix.hessian.clone().unwrap(), matrix.fisher.clone());
    with_layers(&[matrix], None, |layers| {
        let whole = sample(layers, 0, 1.0, Steps::Full);
        let delta = delta_for(&whole, 4.0);
        let scales = whole.whole_scales(delta);
        let coder = TrellisCoder {
            codec: &parametric(),
            codec_id: "",
            scales: &scales,
            feedback: None,
            cancel: layers.cancel(),
        };
        let (_, decoded) = coder.code(whole.columns.view()).unwrap();
        // What the guidance adds to the diagonal is a hundredth of its mean.
        let damping = 0.01 * hessian.diag().mean().unwrap();
        let (mut kl, fisher) = (0.0, fisher.unwrap());
        for ((i, j), &w) in whole.columns.indexed_iter() {
            let importance = f64::from(fisher[i] * (hessian[[j, j]] + damping));
            kl += importance * f64::from(w - decoded[[i, j]]).powi(2) / 2.0;
        }
        let predicted = whole.predict(&parametric(), delta, Cancel(&NoProgress));
        assert_close(predicted.unwrap().kl, kl, 1e-3);
    });
}

#[test]
fn a_refined_matrix_is_coded_finer() {
    with_layers(&[with_a_trend()], feedback(), |layers| {
        let mut sample = sample(layers, 0, 1.0, Steps::Full);
        let delta = delta_for(&sample, 4.0);
        let predict = |s: &Sample<'_>| s.predict(&parametric(), delta, Cancel(&NoProgress));
        let before = (sample.log2_ratio, predict(&sample).unwrap());
        sample.refine(1.0);
        let after = predict(&sample).unwrap();
        assert_close(sample.log2_ratio, before.0 + 1.0, 1e-9);
        // Half the step is a bit a weight and a quarter of the error.
        let more = (after.bits - before.1.bits) / sample.n_weights();
        assert!((0.95..1.05).contains(&more), "{more} bits a weight");
        assert_close(after.kl, before.1.kl / 4.0, 0.1);
        // What planning predicts with is what coding fits anew.
        let weights = layers.all()[0].weights().unwrap();
        let coded = tensor_scales(weights.view(), None, &sample.factors, delta).unwrap();
        assert_eq!(sample.whole_scales(delta), coded);
    });
}

#[test]
fn some_rows_tell_what_is_stored() {
    // Among the rows that are looked at, those of large weights are far too many.
    let (rows, cols) = (320, 48);
    let mut weights = 0.02 * random(rows, cols, 3);
    for (i, mut row) in weights.rows_mut().into_iter().enumerate() {
        row *= if i % 10 == 5 { 8.0 } else { 1.0 };
    }
    let hessian = second_moment(cols, 4, |j| 1.0 + (j % 3) as f32);
    let matrix = Matrix::guided(A, weights, hessian, vec![0.01; rows]);
    with_layers(&[matrix], feedback(), |layers| {
        let sample = sample(layers, 0, 1.0, Steps::Full);
        let (codec, delta) = (parametric(), delta_for(&sample, 3.0));
        let guidance = layers.guidance(&sample.layer, Keep::Yes).unwrap();
        let coder = TrellisCoder {
            codec: &codec,
            codec_id: "",
            scales: &sample.whole_scales(delta),
            feedback: guidance.feedback(),
            cancel: layers.cancel(),
        };
        let weights = sample.layer.weights().unwrap();
        let (coded, _) = coder.code(weights.view()).unwrap();
        let expected = 8.0 * coded.n_bytes() as f64;
        let stored = |share| stored_bits(&sample, layers, &codec, delta, share).unwrap();
        assert_close(stored(1.0), expected, 1e-9);
        assert_close(stored(0.1), expected, 0.04);
    });
}

#[test]
fn rows_out_of_range_are_planned_as_they_are_coded() {
    let (rows, cols) = (64, 64);
    let weights = random(rows, cols, 5);
    let hessian = second_moment(cols, 6, |_| 1.0);
    let fisher = vec![0.01_f32; rows];
    let (mut scaled, mut scaled_fisher) = (weights.clone(), fisher.clone());
    for i in (0..rows).step_by(3) {
        // Smaller weights whose errors count as much more are the same task in other units.
        scaled.row_mut(i).mapv_inplace(|w| w * (-20_f32).exp2());
        scaled_fisher[i] *= 40_f32.exp2();
    }
    let predicted = |weights, fisher, delta: Option<f64>| {
        let matrix = Matrix::guided(A, weights, hessian.clone(), fisher);
        with_layers(&[matrix], feedback(), |layers| {
            let sample = sample(layers, 0, 1.0, Steps::Full);
            let delta = delta.unwrap_or_else(|| delta_for(&sample, 4.0));
            let predicted = sample.predict(&parametric(), delta, Cancel(&NoProgress));
            let stored = stored_bits(&sample, layers, &parametric(), delta, 1.0);
            (predicted.unwrap(), stored.unwrap(), delta)
        })
    };
    let (plain, plain_bits, delta) = predicted(weights, fisher, None);
    let (out_of_range, bits, _) = predicted(scaled, scaled_fisher, Some(delta));
    // Their steps are rounded otherwise, to quarter octaves.
    assert_close(out_of_range.kl, plain.kl, 0.1);
    // Steps that differ from row to row take some more bytes.
    assert_close(out_of_range.bits, plain.bits, 0.05);
    assert_close(bits, plain_bits, 0.05);
}

#[test]
fn the_predicted_kl_is_a_little_below_what_was_asked_for() {
    with_layers(&[with_a_trend()], feedback(), |layers| {
        let samples = [sample(layers, 0, 1.0, Steps::Full)];
        for asked in [0.3, 0.01] {
            let request = request(RateTarget::MaxKl(asked));
            let found = Search::new(TrellisConfig::wide(8), &samples, layers, request).run();
            let found = found.unwrap();
            let predicted = samples[0].predict(&found.codec, found.delta, layers.cancel());
            assert_close(predicted.unwrap().kl, 0.97 * asked, 0.01);
        }
    });
}

#[test]
fn matrices_without_sampled_rows_are_corrected_by_the_mean_of_the_others() {
    let matrix = |name, rows, seed| {
        let hessian = second_moment(32, seed, |j| 1.0 + j as f32);
        let weights = 0.02 * random(rows, 32, seed + 10);
        Matrix::guided(name, weights, hessian, vec![0.01; rows])
    };
    let matrices = [matrix(A, 128, 1), matrix(B, 256, 2), matrix(C, 160, 3)];
    with_layers(&matrices, feedback(), |layers| {
        let mut samples = [0, 1, 2].map(|idx| sample(layers, idx, 1.0, Steps::Full));
        samples[2].keep = Keep::No;
        let delta = delta_for(&samples[0], 2.5);
        let at = At {
            codec: parametric(),
            delta,
        };
        let request = request(RateTarget::BpwPayload(2.5));
        let search = Search::new(TrellisConfig::wide(8), &samples, layers, request);
        let predicted = samples.each_ref().map(|s| {
            let predicted = s.predict(&at.codec, delta, layers.cancel());
            predicted.unwrap()
        });
        let found = search.corrections(&at, &predicted).unwrap();
        let stored =
            [0, 1].map(|idx| stored_bits(&samples[idx], layers, &at.codec, delta, 1.0).unwrap());
        assert_close(found[0], stored[0] / predicted[0].bits, 1e-9);
        assert_close(found[1], stored[1] / predicted[1].bits, 1e-9);
        let mean = (stored[0] + stored[1]) / (predicted[0].bits + predicted[1].bits);
        assert_close(found[2], mean, 1e-9);
        assert!((mean - 1.0).abs() > 0.005, "feedback costs bits: {mean}");
    });
}

#[test]
fn factors_are_kept_as_far_as_they_fit() {
    let matrix = |name| {
        let hessian = Array2::eye(64);
        Matrix::guided(name, random(64, 64, 1), hessian, vec![1.0; 64])
    };
    let n_kept = |cols: usize, is_known: bool| {
        let matrix = match is_known {
            true => matrix(A),
            false => Matrix::plain(A, random(64, 64, 1)),
        };
        with_layers(&[matrix], feedback(), |layers| {
            let mut layer = layers.all()[0];
            layer.cols = cols;
            let many = Layers::new(vec![layer; 7], layers.guide(), layers.cancel());
            let kept = kept_layers(&many);
            kept.into_iter().filter(|keep| *keep == Keep::Yes).count()
        })
    };
    // Factors of 2^13 columns take a quarter of the memory that there is.
    assert_eq!(
        [64, 1 << 13, 1 << 15].map(|cols| n_kept(cols, true)),
        [7, 4, 0]
    );
    assert_eq!(n_kept(64, false), 0);
}

/// Ratios after [`align`], less the mean of the matrices whose indices are in `basis`, by weights.
fn aligned(matrices: &[Matrix], basis: &[usize], embedding_bits: Option<f64>) -> Vec<f64> {
    with_layers(matrices, feedback(), |layers| {
        let n = matrices.len();
        let mut samples: Vec<_> = (0..n)
            .map(|idx| sample(layers, idx, 1.0, Steps::Full))
            .collect();
        let before: Vec<f64> = samples.iter().map(|s| s.log2_ratio).collect();
        let n_weights = |idx: &usize| samples[*idx].n_weights();
        let sum: f64 = basis.iter().map(|idx| before[*idx] * n_weights(idx)).sum();
        let mean = sum / basis.iter().map(n_weights).sum::<f64>();
        align(&mut samples, embedding_bits);
        let after = samples.iter().zip(&before).enumerate();
        after
            .map(|(idx, (s, before))| match basis.contains(&idx) {
                // Those that set the scale: how far they moved.
                true => s.log2_ratio - before,
                false => s.log2_ratio - mean,
            })
            .collect()
    })
}

#[test]
fn matrices_with_and_without_statistics_share_one_scale() {
    let weights = |rows, scale: f32, seed| scale * random(rows, 32, seed);
    let known = |name, rows, scale, seed| {
        let hessian = second_moment(32, seed, |_| 1.0);
        Matrix::guided(name, weights(rows, scale, seed), hessian, vec![0.1; rows])
    };
    let plain = |name, rows, scale, seed| Matrix::plain(name, weights(rows, scale, seed));
    let check = |matrices: &[Matrix], basis: &[usize], bits, expected: &[f64]| {
        let found = aligned(matrices, basis, bits);
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{found} against {expected}"
            );
        }
    };
    let untied = |embedding: Matrix| {
        let linears = [known(A, 128, 1.0, 1), known(B, 512, 0.01, 2)];
        let others = [plain(C, 256, 3.0, 3), embedding, known(HEAD, 160, 0.1, 5)];
        linears.into_iter().chain(others).collect::<Vec<_>>()
    };
    // Files list tensors in the order that they are given here.
    let model = untied(plain(EMBEDDING, 200, 5.0, 4));
    check(&model, &[0, 1, 4], None, &[0.0, 0.0, 0.0, 1.0, 0.0]);
    check(&model, &[0, 1, 4], Some(0.5), &[0.0, 0.0, 0.0, 0.5, 0.5]);
    // A tied embedding has the statistics of the head that it is.
    let model = untied(known(EMBEDDING, 200, 5.0, 4));
    check(&model, &[0, 1, 3, 4], None, &[0.0, 0.0, 0.0, 1.0, 0.0]);
    let model = [
        plain(A, 128, 1.0, 1),
        plain(EMBEDDING, 200, 5.0, 4),
        plain(B, 512, 0.01, 2),
    ];
    check(&model, &[0, 2], None, &[0.0, 1.0, 0.0]);
}

#[test]
fn steps_follow_as_much_as_they_are_told_to() {
    let matrix = {
        let (rows, cols) = (64, 64);
        let hessian = diagonal(cols, |j| (j as f32 / 8.0).exp2());
        let fisher = (0..rows).map(|i| (i as f32 / 8.0).exp2()).collect();
        Matrix::guided(A, random(rows, cols, 8), hessian, fisher)
    };
    with_layers(&[matrix], None, |layers| {
        let spans = |steps| {
            let factors = sample(layers, 0, 1.0, steps).factors;
            let span = |k: &[i8]| k.iter().max().unwrap() - k.iter().min().unwrap();
            (span(&factors.rows) > 8, span(&factors.cols) > 8)
        };
        assert_eq!(spans(Steps::Layer), (false, false));
        assert_eq!(spans(Steps::Columns), (false, true));
        assert_eq!(spans(Steps::Full), (true, true));
        // One step a layer is the geometric mean of the columns': the same mean rate.
        let ratio = |steps| {
            let sample = sample(layers, 0, 1.0, steps);
            let logs = |k: &[i8]| k.iter().map(|&k| f64::from(k)).sum::<f64>() / 4.0 / 64.0;
            f64::from(sample.factors.tensor_log2) + logs(&sample.factors.cols)
        };
        let (layer, columns) = (ratio(Steps::Layer), ratio(Steps::Columns));
        assert!((layer - columns).abs() < 0.02, "{layer} against {columns}");
    });
}

#[test]
fn sizes_count_everything_and_rates_the_linears() {
    let hessian = second_moment(128, 1, |_| 1.0);
    let linear = Matrix::guided(A, random(128, 128, 2), hessian, vec![1.0; 128]);
    let matrices = [linear, Matrix::plain(EMBEDDING, random(256, 128, 3))];
    with_layers(&matrices, feedback(), |layers| {
        let planned = |target| {
            let sizes = Sizes {
                other_bytes: 3000,
                n_params: 60_000,
            };
            let request = Request {
                sizes,
                ..request(target)
            };
            plan::plan(request, layers, &NoProgress).unwrap()
        };
        let totals = Totals {
            total_bytes: 54_000,
            bpw_payload: 6.0,
            bpw_payload_linear: 4.4,
            ..Totals::default()
        };
        // 7.2 bits of 60 000 parameters.
        let by_total = planned(RateTarget::BpwTotal(7.2));
        assert!(matches!(by_total.aim(), Aim::TotalBytes(bytes) if (bytes - 54e3).abs() < 1e-6));
        assert!(by_total.missed_by(&totals).unwrap().abs() < 1e-9);
        let by_bytes = planned(RateTarget::TotalBytes(60_000));
        assert_close(by_bytes.missed_by(&totals).unwrap(), -0.1, 1e-9);
        let by_payload = planned(RateTarget::BpwPayload(4.0));
        assert_close(by_payload.missed_by(&totals).unwrap(), 0.1, 1e-9);
        let without_linears = Totals {
            bpw_payload_linear: 0.0,
            ..totals.clone()
        };
        assert_close(by_payload.missed_by(&without_linears).unwrap(), 0.5, 1e-9);
        for target in [RateTarget::Step(0.1), RateTarget::MaxKl(0.01)] {
            assert_eq!(planned(target).missed_by(&totals), None);
        }
    });
}
