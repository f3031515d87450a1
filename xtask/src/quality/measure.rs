//! Measures rows, each once: what is measured is kept in a file and not measured again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Inputs;
use super::program::{Evaluation, Program};
use super::rows::{CALIBRATION_TEXT, How, Plan, STATISTICS};
use crate::workspace;

/// A measured row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// What it was measured on and how; a row with another key is measured anew.
    pub(super) key: Key,
    /// Bits a weight of the linears: payload and side information.
    pub(super) bpw_payload: f64,
    /// Bits a parameter of everything, the kept embeddings included.
    pub(super) bpw_total: f64,
    pub(super) nmse: f64,
    pub(super) evaluation: Evaluation,
    /// Wall clock of quantising and of evaluating.
    pub(super) seconds: (f64, f64),
}

/// Everything that a row's figures depend on but the program itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// Fingerprint of the model's weights.
    model: String,
    calibration_text: String,
    evaluation_text: String,
    ctx: usize,
    max_tokens: usize,
    /// Digest of the codec, for a row of the learned codec.
    codec: Option<String>,
    command: String,
}

/// Calibration as the prototype's figures were made.
const CALIBRATION: [&str; 6] = ["--windows", "24", "--fisher-windows", "24", "--ctx", "1024"];

/// What all rows are measured with.
pub(super) struct Bench<'a> {
    inputs: &'a Inputs,
    program: Program,
    /// Without the row's own part.
    key: Key,
}

impl<'a> Bench<'a> {
    /// Makes the folders and reads what the keys are made of.
    ///
    /// # Errors
    /// Where something cannot be read or made.
    pub(super) fn new(inputs: &'a Inputs) -> Result<Self> {
        for dir in [&inputs.out, &inputs.out.join("rows")] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let digest = |path: &Path| -> Result<String> {
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(nwc::digest(&bytes))
        };
        Ok(Self {
            program: Program::new(&inputs.cli),
            key: Key {
                model: nwc::fingerprint(&inputs.model)?,
                calibration_text: digest(&inputs.texts.calibration)?,
                evaluation_text: digest(&inputs.texts.evaluation)?,
                ctx: inputs.ctx,
                max_tokens: inputs.max_tokens,
                codec: None,
                command: String::new(),
            },
            inputs,
        })
    }

    /// Calibrates, unless that has been done with the same model and text.
    ///
    /// # Errors
    /// Where `nwc-cli calibrate` fails.
    pub(super) fn calibrate(&self) -> Result<()> {
        let key = Key {
            // Statistics do not depend on what is evaluated.
            evaluation_text: String::new(),
            ctx: 0,
            max_tokens: 0,
            command: format!("calibrate {}", CALIBRATION.join(" ")),
            ..self.key.clone()
        };
        let key_path = self.inputs.out.join("statistics.json");
        if self.statistics().is_file() && read_json::<Key>(&key_path).as_ref() == Some(&key) {
            return Ok(());
        }
        workspace::title("calibrate");
        let start = Instant::now();
        let mut arguments = vec!["calibrate".into(), self.inputs.model.clone()];
        arguments.extend(["--text".into(), self.inputs.texts.calibration.clone()]);
        arguments.extend(["--out".into(), self.statistics()]);
        arguments.extend(CALIBRATION.map(PathBuf::from));
        self.program.run(arguments)?;
        eprintln!("    done in {:.0} s", start.elapsed().as_secs_f64());
        workspace::write_whole(&key_path, &(serde_json::to_string_pretty(&key)? + "\n"))
    }

    /// A row that was measured before, with the same key.
    pub(super) fn kept(&self, plan: &Plan) -> Option<Row> {
        let row: Row = read_json(&self.row_path(plan))?;
        (row.key == self.row_key(plan)).then_some(row)
    }

    /// Measures a row and keeps it.
    ///
    /// # Errors
    /// Where quantising or evaluating fails.
    pub(super) fn measure(&self, plan: &Plan) -> Result<Row> {
        let work = self.inputs.out.join("work").join(plan.name());
        remove(&work)?;
        fs::create_dir_all(self.inputs.out.join("work"))?;
        let row = self.measure_in(plan, &work);
        remove(&work)?;
        let row = row?;
        let text = serde_json::to_string_pretty(&row)? + "\n";
        workspace::write_whole(&self.row_path(plan), &text)?;
        Ok(row)
    }

    fn measure_in(&self, plan: &Plan, work: &Path) -> Result<Row> {
        let start = Instant::now();
        let (bpw_payload, bpw_total, nmse) = match &plan.how {
            How::Compress(flags) => {
                let mut arguments = vec!["compress".into(), self.inputs.model.clone(), work.into()];
                arguments.extend(["--embeddings".into(), "keep".into()]);
                arguments.extend(flags.iter().map(|flag| match flag.as_str() {
                    STATISTICS => self.statistics(),
                    CALIBRATION_TEXT => self.inputs.texts.calibration.clone(),
                    other => other.into(),
                }));
                self.program.run(arguments)?;
                let totals = self.program.inspect(work)?;
                (totals.bpw_payload_linear, totals.bpw_total, totals.nmse)
            }
            How::Baseline(baseline) => {
                let cost = baseline.write(&self.inputs.model, &self.statistics(), work)?;
                (cost.bpw_payload, cost.bpw_total, cost.nmse)
            }
        };
        let quantised = start.elapsed().as_secs_f64();
        let evaluation = self.program.evaluate(
            work,
            &self.inputs.model,
            &self.inputs.texts.evaluation,
            (self.inputs.ctx, self.inputs.max_tokens),
        )?;
        Ok(Row {
            name: plan.name(),
            key: self.row_key(plan),
            bpw_payload,
            bpw_total,
            nmse,
            evaluation,
            seconds: (quantised, start.elapsed().as_secs_f64() - quantised),
        })
    }

    fn row_key(&self, plan: &Plan) -> Key {
        let codec = plan.lambda.and_then(|l| nwc::pretrained(l as f32).ok());
        Key {
            codec: codec.map(nwc::digest),
            command: match &plan.how {
                How::Compress(flags) => format!("compress --embeddings keep {}", flags.join(" ")),
                How::Baseline(baseline) => baseline.to_string(),
            },
            ..self.key.clone()
        }
    }

    fn row_path(&self, plan: &Plan) -> PathBuf {
        let name = format!("{}.json", plan.name());
        self.inputs.out.join("rows").join(name)
    }

    fn statistics(&self) -> PathBuf {
        self.inputs.out.join("statistics.safetensors")
    }
}

/// What a file holds, where it is there and holds that.
fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}
