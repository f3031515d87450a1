//! Runs of a few steps: what repeats, what resumes, what improves.

use nwc_codec::CodecConfig;

use super::*;
use crate::checkpoint::{self, CheckpointHeader};
use crate::{DeviceChoice, Schedule, gaussian_mixture_matrix};

fn data() -> TrainingData {
    TrainingData::from_matrices((0..2).map(|seed| gaussian_mixture_matrix(1024, 64, seed))).unwrap()
}

fn short(codec: CodecConfig) -> TrainConfig {
    TrainConfig {
        codec,
        n_noise_steps: 12,
        n_density_steps: 3,
        n_rounding_steps: 6,
        runs_per_step: 8,
        n_validation_runs: 8,
        n_table_runs: 64,
        curve_every: 5,
        device: DeviceChoice::Cpu,
        ..TrainConfig::tiny(100.0)
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let (data, config) = (data(), short(CodecConfig::tiny(100.0)));
    let mut n_reports = 0;
    let first = train(&config, &data, &mut |_| n_reports += 1).unwrap();
    let second = train(&config, &data, &mut |_| ()).unwrap();
    assert_eq!(
        first.codec.to_bytes().unwrap(),
        second.codec.to_bytes().unwrap()
    );
    assert_eq!(first.curve, second.curve);
    assert_eq!(n_reports, first.curve.len());
    let steps: Vec<usize> = first.curve.iter().map(|point| point.step).collect();
    assert_eq!(steps, [0, 5, 10, 15, 17]);
    let other = train(&TrainConfig { seed: 7, ..config }, &data, &mut |_| ()).unwrap();
    assert_ne!(first.curve, other.curve);
}

#[track_caller]
fn check_resume(n_steps_before: usize) {
    let (data, config) = (data(), short(CodecConfig::tiny(100.0)));
    let whole = {
        let mut trainer = Trainer::new(config.clone(), &data).unwrap();
        while !trainer.is_done() {
            trainer.step().unwrap();
        }
        trainer.checkpoint().unwrap()
    };
    let mut trainer = Trainer::new(config, &data).unwrap();
    for _ in 0..n_steps_before {
        trainer.step().unwrap();
    }
    let checkpoint = trainer.checkpoint().unwrap();
    drop(trainer);
    let mut resumed = Trainer::resume(&checkpoint, &data, DeviceChoice::Cpu).unwrap();
    assert_eq!(resumed.n_steps_done(), n_steps_before);
    while !resumed.is_done() {
        resumed.step().unwrap();
    }
    let (expected, found) = (
        checkpoint::read(&whole).unwrap(),
        checkpoint::read(&resumed.checkpoint().unwrap()).unwrap(),
    );
    assert!(
        expected.1 == found.1,
        "tensors differ after resuming at {n_steps_before}"
    );
    assert_eq!(expected.0, found.0);
    resumed.finish().unwrap();
}

#[test]
fn a_resumed_run_ends_where_an_uninterrupted_one_does() {
    check_resume(0);
    check_resume(2);
    check_resume(7);
    check_resume(15);
}

#[test]
fn training_lowers_the_loss_from_a_random_start() {
    let codec = CodecConfig {
        width: 32,
        n_blocks: 1,
        ..CodecConfig::paper(100.0)
    };
    let config = TrainConfig {
        start: Start::Random,
        n_noise_steps: 150,
        n_density_steps: 0,
        n_rounding_steps: 0,
        learning_rate: 1e-2,
        density_learning_rate: 2e-2,
        schedule: Schedule::Constant,
        ..short(codec)
    };
    let trained = train(&config, &data().standardized().unwrap(), &mut |_| ()).unwrap();
    let (first, last) = (trained.curve[0], trained.curve[trained.curve.len() - 1]);
    assert!(last.loss < 0.5 * first.loss, "{first:?} to {last:?}");
    assert!(!trained.is_start);
}

#[test]
fn a_scalar_start_is_close_to_scalar_quantisation_and_does_not_get_worse() {
    let trained = train(&short(CodecConfig::tiny(100.0)), &data(), &mut |_| ()).unwrap();
    assert_eq!(trained.levels.len(), 4);
    for level in &trained.levels {
        let ecsq = level.ecsq_bits_per_weight.unwrap();
        // 4,096 chunks fill tables of hundreds of symbols badly: the finest level pays 0.2 bit.
        assert!((level.bits_per_weight - ecsq).abs() < 0.3, "{level:?}");
    }
    assert!(
        trained
            .levels
            .windows(2)
            .all(|pair| pair[1].nmse < pair[0].nmse)
    );
    assert!(trained.codec.training_json().contains("\"seed\":100"));
    assert!(trained.curve_json().contains("\"curve\":["));
}

#[track_caller]
fn check_refused(checkpoint: &[u8], data: &TrainingData, expected: &str) {
    let error = Trainer::resume(checkpoint, data, DeviceChoice::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn damaged_checkpoints_are_refused() {
    let data = data();
    let config = short(CodecConfig::tiny(100.0));
    let trainer = Trainer::new(config.clone(), &data).unwrap();
    let good = trainer.checkpoint().unwrap();
    check_refused(
        &good[..good.len() - 1],
        &data,
        "training checkpoint is not a safetensors file",
    );
    check_refused(b"", &data, "training checkpoint is not a safetensors file");
    let other = TrainingData::from_matrices([gaussian_mixture_matrix(1024, 64, 9)]).unwrap();
    check_refused(
        &good,
        &other,
        "training checkpoint is of other training data than given",
    );

    let (header, stored) = checkpoint::read(&good).unwrap();
    let mut fewer = stored.clone();
    fewer.remove("parameter/encoder.input.bias");
    let bytes = checkpoint::write(&header, &fewer).unwrap();
    check_refused(
        &bytes,
        &data,
        "training checkpoint has no tensor parameter/encoder.input.bias",
    );
    let mut more = stored.clone();
    more.insert("medians".into(), (vec![1], vec![0.0]));
    let bytes = checkpoint::write(&header, &more).unwrap();
    check_refused(
        &bytes,
        &data,
        "training checkpoint holds 1 medians, expected 16",
    );
    let mut extra = stored.clone();
    extra.insert("zzz".into(), (vec![1], vec![0.0]));
    let bytes = checkpoint::write(&header, &extra).unwrap();
    check_refused(
        &bytes,
        &data,
        "training checkpoint holds a tensor zzz that is not expected",
    );
    let mut nan = stored.clone();
    nan.insert("zzz".into(), (vec![1], vec![f32::NAN]));
    let bytes = checkpoint::write(&header, &nan).unwrap();
    check_refused(&bytes, &data, "training checkpoint tensor zzz holds NaN");
    let later = CheckpointHeader {
        step: 19,
        ..header.clone()
    };
    let bytes = checkpoint::write(&later, &stored).unwrap();
    check_refused(&bytes, &data, "training checkpoint has done 19 of 18 steps");
    let newer = CheckpointHeader {
        version: 2,
        ..header
    };
    let bytes = checkpoint::write(&newer, &stored).unwrap();
    check_refused(
        &bytes,
        &data,
        "training checkpoint has version 2, this program reads 1",
    );
}

#[test]
fn what_cannot_be_run_is_refused() {
    let data = data();
    let refused = |config: TrainConfig| Trainer::new(config, &data).unwrap_err().to_string();
    let codec = CodecConfig {
        chunk_len: 24,
        latent_dim: 24,
        width: 32,
        ..CodecConfig::small(30.0)
    };
    assert_eq!(
        refused(short(codec)),
        "training field chunk_len is 24, allowed: divisors of a run's 1024 weights"
    );
    let shared = TrainConfig {
        start: Start::ScalarQuantizer,
        ..short(CodecConfig {
            width: 16,
            ..CodecConfig::paper(30.0)
        })
    };
    assert!(refused(shared).starts_with("codec: codec field steps is"));
    if !tch::Cuda::is_available() {
        let config = TrainConfig {
            device: DeviceChoice::Cuda,
            ..short(CodecConfig::tiny(30.0))
        };
        assert!(refused(config).starts_with("device cuda:0 was asked for"));
    }
    let diverging = TrainConfig {
        learning_rate: 1e30,
        ..short(CodecConfig::tiny(30.0))
    };
    let error = train(&diverging, &data, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}
