//! Times evaluation, calibration, sampling and recovery (of the first block, rounded) of a plain Hugging Face folder.
//!
//! `cargo run --release -p nwc-lm --example measure -- FOLDER eval|calibrate|generate|recover TEXT [N_WINDOWS [WINDOW]]`
#![expect(clippy::print_stdout, reason = "an example shows its figures")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use ndarray::Array2;
use nwc_lm::{
    CalibrationOptions, CalibrationStep, EvaluationOptions, HfFolder, LanguageModel, ModelConfig,
    ModelOptions, QuantizedLinear, Recovery, RecoveryOptions, StatisticsSink, TextTokenizer,
    calibrate, evaluate, generate,
};

/// Counts what it is given.
#[derive(Default)]
struct Counted {
    n_hessians: usize,
    n_fishers: usize,
    trace: f64,
    fisher: f64,
}

impl StatisticsSink for Counted {
    fn hessian(&mut self, _: &str, _: &[String], _: u64, h: Array2<f32>) -> nwc_lm::Result<()> {
        self.n_hessians += 1;
        self.trace += h.diag().iter().map(|&x| f64::from(x)).sum::<f64>();
        Ok(())
    }

    fn output_fisher(&mut self, _: &str, fisher: Vec<f32>) -> nwc_lm::Result<()> {
        self.n_fishers += 1;
        self.fisher += fisher.iter().map(|&x| f64::from(x)).sum::<f64>();
        Ok(())
    }
}

/// Rounds to steps of 0.8 of a row's root mean square: about 2.4 bits a weight.
fn round(weights: &Array2<f32>) -> QuantizedLinear {
    let rms =
        |row: ndarray::ArrayView1<'_, f32>| (row.dot(&row) / row.len() as f32).sqrt().max(1e-6);
    let row_scales: Vec<f32> = weights.rows().into_iter().map(rms).collect();
    let mut normalized = weights.clone();
    for (mut row, scale) in normalized.rows_mut().into_iter().zip(&row_scales) {
        row.mapv_inplace(|weight| (weight / scale * 1.25).round() / 1.25);
    }
    QuantizedLinear {
        normalized,
        row_scales,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, what, text, rest @ ..] = args.as_slice() else {
        return Err(
            "usage: measure FOLDER eval|calibrate|generate|recover TEXT [N_WINDOWS [WINDOW]]"
                .into(),
        );
    };
    let number = |idx: usize, default: usize| rest.get(idx).map_or(Ok(default), |n| n.parse());
    let folder = Path::new(folder);
    let config = ModelConfig::from_json(&std::fs::read_to_string(folder.join("config.json"))?)?;
    let tokenizer = TextTokenizer::from_json(&std::fs::read(folder.join("tokenizer.json"))?)?;
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            shards.push(std::fs::read(path)?);
        }
    }
    let source = HfFolder::new(shards)?;
    let start = Instant::now();
    let tokens = tokenizer.encode(&std::fs::read_to_string(text)?, config.vocab_size)?;
    println!(
        "{} tokens in {:.1} s",
        tokens.len(),
        start.elapsed().as_secs_f64()
    );
    let model = LanguageModel::open(config.clone(), &source, ModelOptions::default())?;
    let start = Instant::now();
    match what.as_str() {
        "eval" => {
            let window = number(1, 1024)?;
            let max_tokens = Some(number(0, 4)? * window);
            let reference = LanguageModel::open(config, &source, ModelOptions::default())?;
            let options = EvaluationOptions { window, max_tokens };
            let found = evaluate(&model, Some(&reference), &tokens, options, &mut |_, _| ())?;
            println!("{found:?}");
        }
        "generate" => {
            let windows = generate(&model, number(0, 4)?, number(1, 64)?, 1, &mut |_, _| ())?;
            println!("{:?}", windows.first());
        }
        "recover" => {
            let options = RecoveryOptions::small();
            let mut recovery = Recovery::new(&model, &tokens, options)?;
            let recovered = recovery.recover_block(&mut |_, weights| Ok(Some(round(weights))))?;
            recovered.steps.iter().for_each(|step| println!("{step:?}"));
        }
        _ => {
            let n_windows = number(0, 24)?;
            let options = CalibrationOptions {
                hessian_n_windows: n_windows,
                fisher_n_windows: n_windows,
                ..CalibrationOptions::standard()
            };
            let mut sink = Counted::default();
            let mut hessians = None;
            let report = calibrate(&model, &tokens, &options, &mut sink, &mut |step| {
                if let CalibrationStep::Hessian(..) = step {
                    hessians = Some(start.elapsed());
                }
            })?;
            println!("hessians after {hessians:?}");
            println!("{report:?}");
            println!(
                "{} hessians (sum of traces {:.4}), {} fishers (sum {:.4})",
                sink.n_hessians, sink.trace, sink.n_fishers, sink.fisher
            );
        }
    }
    println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
