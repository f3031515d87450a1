//! A model much larger than what calibration may keep in memory: only one block is there at a time.
#![cfg(target_os = "linux")]

use ndarray::Array2;
use nwc_lm::{
    BoxedError, CalibrationOptions, LanguageModel, ModelConfig, ModelOptions, Residency, Result,
    Statistic, StatisticKind, StatisticsSink, WeightSource, WeightTensor, calibrate,
};

const CONFIG: &str = r#"{"model_type":"llama","hidden_size":512,"num_attention_heads":8,
    "num_key_value_heads":2,"num_hidden_layers":48,"intermediate_size":1024,"vocab_size":256,
    "max_position_embeddings":128,"tie_word_embeddings":true}"#;
/// 48 blocks of 2.2 million weights in f32.
const WHOLE_BYTES: u64 = 48 * 2_229_248 * 4;
/// Two blocks, their gradients and statistics, the hidden states, and LibTorch's own buffers.
const ALLOWED_BYTES: u64 = 160 << 20;

/// Makes every tensor up when it is asked for.
struct MadeUp;

impl WeightSource for MadeUp {
    fn names(&self) -> Vec<String> {
        vec!["model.embed_tokens.weight".to_owned()]
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        let shape = match name {
            _ if name.ends_with("norm.weight") => vec![512],
            _ if name.contains("embed_tokens") => vec![256, 512],
            _ if name.contains("k_proj") || name.contains("v_proj") => vec![128, 512],
            _ if name.contains("gate_proj") || name.contains("up_proj") => vec![1024, 512],
            _ if name.contains("down_proj") => vec![512, 1024],
            _ => vec![512, 512],
        };
        let mut state = name
            .bytes()
            .fold(1u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let data = (0..shape.iter().product()).map(|_| 0.1 * next()).collect();
        Ok(WeightTensor { shape, data })
    }
}

struct Counted(usize, usize);

impl StatisticsSink for Counted {
    fn put(&mut self, _: &str, statistic: Statistic) -> Result<(), BoxedError> {
        match statistic {
            Statistic::Hessian { .. } => self.0 += 1,
            Statistic::OutputFisher(_) => self.1 += 1,
            Statistic::Curvature { .. } => {}
        }
        Ok(())
    }

    fn has(&self, _: StatisticKind, _: &str) -> bool {
        false
    }

    fn hessian(&self, _: &str) -> Result<Option<Array2<f32>>, BoxedError> {
        Ok(None)
    }
}

/// The process's largest resident size so far.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(1024 * kibibytes)
}

#[test]
fn calibration_keeps_one_block_in_memory() {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let options = ModelOptions {
        residency: Residency::PerBlock,
        ..ModelOptions::default()
    };
    let model = LanguageModel::open(config, &MadeUp, options).unwrap();
    let tokens: Vec<u32> = (0..128).map(|position| position * 7 % 256).collect();
    // What LibTorch itself takes at its first product is not the model's.
    drop(model.logits(&tokens[..8]).unwrap());
    let before = peak_bytes().unwrap();
    let options = CalibrationOptions {
        hessian_window: 64,
        hessian_n_windows: 2,
        fisher_window: 64,
        fisher_n_windows: 2,
        curvature: false,
        ..CalibrationOptions::standard()
    };
    let mut sink = Counted(0, 0);
    calibrate(&model, &tokens, &options, &mut sink, &mut |_| ()).unwrap();
    let grown = peak_bytes().unwrap() - before;
    assert_eq!((sink.0, sink.1), (48 * 4 + 1, 48 * 7 + 1));
    assert!(grown < ALLOWED_BYTES, "{grown} of {WHOLE_BYTES} bytes");
}
