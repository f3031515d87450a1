//! A folder compressed with and without recovery.

use std::fs;

use nwc::{CodecChoice, DecodeOptions, NoProgress, RateTarget};
use nwc_lm::{
    CalibrationOptions, CalibrationText, Device, EvaluationOptions, calibrate_checkpoint, evaluate,
};

use super::*;
use crate::testing::{Fixture, fixture, text};

struct Case {
    dir: tempfile::TempDir,
    tokens: Vec<u32>,
    text: String,
    options: CompressOptions,
}

impl Case {
    /// A checkpoint folder with a tokenizer of one word per token, and statistics.
    fn new(name: &str) -> Self {
        let Fixture {
            config,
            weights,
            config_json,
            shard,
        } = fixture(name);
        let dir = tempfile::tempdir().unwrap();
        let model_dir = dir.path().join("model");
        fs::create_dir(&model_dir).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(model_dir.join(name), bytes).unwrap();
        write("config.json", config_json.as_bytes());
        write("model.safetensors", &shard);
        let vocab: BTreeMap<String, usize> = (0..config.vocab_size)
            .map(|token| (format!("w{token}"), token))
            .collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": {"type": "Whitespace"}, "truncation": null, "padding": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}
        });
        write("tokenizer.json", tokenizer.to_string().as_bytes());
        let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
        let tokens = text(&model);
        let text: String = tokens.iter().map(|token| format!("w{token} ")).collect();
        let statistics = dir.path().join("statistics");
        let calibration = CalibrationOptions {
            hessian_window: 16,
            fisher_window: 16,
            ..CalibrationOptions::standard()
        };
        calibrate_checkpoint(
            &model_dir,
            &statistics,
            CalibrationText::Given(&text),
            &calibration,
            Device::Cpu,
            &mut |_| (),
        )
        .unwrap();
        let mut options = CompressOptions::new(CodecChoice::Trellis {
            target: RateTarget::BpwPayload(2.5),
            n_states: 4,
        });
        options.statistics = Some(statistics);
        // The matrices are smaller than what is coded of itself.
        let linears = match name {
            "llama" => "*_proj.weight",
            _ => "*.c_*.weight",
        };
        options.code = vec![linears.into()];
        Self {
            dir,
            tokens,
            text,
            options,
        }
    }

    fn recovered(&self, stages: Stages) -> nwc::Result<f64> {
        let mut recover = RecoverOptions::small(stages);
        recover.blocks.window = 16;
        recover.blocks.learning_rate = 1e-3;
        recover.scales.window = 16;
        recover.scales.n_train_windows = 16;
        recover.scales.learning_rate = 3e-3;
        let out = self.dir.path().join(format!("{stages:?}"));
        let model = self.dir.path().join("model");
        compress(
            &model,
            &out,
            &self.text,
            &self.options,
            &recover,
            &NoProgress,
        )?;
        assert_eq!(
            nwc::verify(&out, &DecodeOptions::default(), &NoProgress)?
                .failures
                .len(),
            0
        );
        Ok(self.divergence(&out))
    }

    /// Mean KL divergence between the original and the compressed model in `dir`, in nats.
    fn divergence(&self, dir: &Path) -> f64 {
        let original = CheckpointWeights::open(&self.dir.path().join("model")).unwrap();
        let decoded = CheckpointWeights::open(dir).unwrap();
        let [original, decoded] =
            [&original, &decoded].map(|weights| weights.model(ModelOptions::default()).unwrap());
        let options = EvaluationOptions {
            window: 16,
            max_tokens: None,
        };
        let found = evaluate(
            &decoded,
            Some(&original),
            &self.tokens,
            options,
            &mut |_, _| (),
        );
        found.unwrap().comparison.unwrap().mean_kl
    }
}

#[test]
fn every_stage_lowers_the_divergence() {
    for name in ["llama", "gpt2"] {
        let case = Case::new(name);
        let plain = case.dir.path().join("plain");
        let model = case.dir.path().join("model");
        nwc::compress(&model, &plain, &case.options, &NoProgress).unwrap();
        let plain = case.divergence(&plain);
        for stages in [Stages::Blocks, Stages::Scales, Stages::Both] {
            let recovered = case.recovered(stages).unwrap();
            assert!(
                recovered < 0.97 * plain,
                "{name}, {stages:?}: {recovered} nats, {plain} without recovery"
            );
        }
    }
}

#[test]
fn what_went_wrong_is_in_the_chain() {
    let mut case = Case::new("llama");
    case.text = "w1 w2 w3".to_owned();
    let error = case.recovered(Stages::Scales).unwrap_err();
    let nwc::Error::Recovery(source) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(
        source.downcast_ref::<Error>(),
        Some(Error::Model(nwc_lm::Error::TextTooShort { .. }))
    ));
    assert!(!case.dir.path().join("Scales").exists());
}
