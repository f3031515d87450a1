//! Measures rows, each once: what is measured is kept in a file and not measured again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use nwc::NoProgress;
use nwc_format::Digest;
use serde::{Deserialize, Serialize};

use super::Inputs;
use super::rows::{self, CALIBRATION_TEXT, How, Plan, STATISTICS};
use crate::peers;
use crate::program::{Evaluation, Program};
use xtask::workspace;

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
    /// Shares of the linear weights by storage type, where that differs from matrix to matrix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) stored_as: BTreeMap<String, f64>,
    /// How the model continues the prompt, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) continuation: Option<String>,
}

/// What quantising a row's model came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantised {
    /// Bits a weight of the linears.
    pub(crate) bpw_payload: f64,
    /// Bits a parameter of everything.
    pub(crate) bpw_total: f64,
    /// Mean of ‖W−Ŵ‖²/‖W‖² over the linears, by number of weights.
    pub(crate) nmse: f64,
    /// As in [`Row`].
    pub(crate) stored_as: BTreeMap<String, f64>,
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

/// How much text is calibrated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Of 1024 tokens, for the Hessians.
    pub(crate) hessian: usize,
    /// Of 512 tokens, for Fisher and curvature.
    pub(crate) fisher: usize,
}

impl Windows {
    /// The curvature gains by more windows than the default, which is quicker.
    pub(crate) const FULL: Self = Self {
        hessian: 24,
        fisher: 64,
    };
    /// What shows the method in a minute.
    pub(crate) const FEW: Self = Self {
        hessian: 8,
        fisher: 24,
    };

    fn arguments(self) -> Vec<String> {
        let [hessian, fisher] = [self.hessian, self.fisher].map(|n| n.to_string());
        [
            "--windows",
            &hessian,
            "--fisher-windows",
            &fisher,
            "--ctx",
            "1024",
        ]
        .map(String::from)
        .to_vec()
    }
}

/// Tokens that a prompt is continued with.
const CONTINUED_TOKENS: usize = 60;

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
            Ok(Digest::of(&bytes).to_string())
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
        let windows = self.inputs.windows.arguments();
        let key = Key {
            // Statistics do not depend on what is evaluated.
            evaluation_text: String::new(),
            ctx: 0,
            max_tokens: 0,
            command: format!("calibrate {}", windows.join(" ")),
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
        arguments.extend(windows.iter().map(PathBuf::from));
        self.program.run(arguments)?;
        eprintln!("    done in {:.0} s", start.elapsed().as_secs_f64());
        workspace::write_whole(&key_path, &(serde_json::to_string_pretty(&key)? + "\n"))
    }

    /// A row that was measured before, with the same key.
    pub(super) fn kept(&self, plan: &Plan) -> Option<Row> {
        let row: Row = read_json(&self.row_path(plan))?;
        let is_same = row.key == self.row_key(plan);
        let has_all = row.continuation.is_some() == self.inputs.prompt.is_some();
        (is_same && has_all).then_some(row)
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
        let quantised = self.quantise(plan, work)?;
        let quantised_after = start.elapsed().as_secs_f64();
        let evaluation = self.program.evaluate(
            work,
            &self.inputs.model,
            &self.inputs.texts.evaluation,
            (self.inputs.ctx, self.inputs.max_tokens),
        )?;
        let continuation = self.continuation_of(work)?;
        Ok(Row {
            name: plan.name(),
            key: self.row_key(plan),
            bpw_payload: quantised.bpw_payload,
            bpw_total: quantised.bpw_total,
            nmse: quantised.nmse,
            evaluation,
            seconds: (
                quantised_after,
                start.elapsed().as_secs_f64() - quantised_after,
            ),
            stored_as: quantised.stored_as,
            continuation,
        })
    }

    /// How the model in `dir` continues the prompt; `None` where there is none.
    ///
    /// # Errors
    /// Where the model cannot be run.
    pub(super) fn continuation_of(&self, dir: &Path) -> Result<Option<String>> {
        let prompt = self.inputs.prompt.as_deref();
        let continued =
            prompt.map(|prompt| self.program.continue_text(dir, prompt, CONTINUED_TOKENS));
        continued.transpose()
    }

    /// Writes the row's model into `work`.
    fn quantise(&self, plan: &Plan, work: &Path) -> Result<Quantised> {
        let (bpw_payload, bpw_total, nmse) = match &plan.how {
            How::Compress(method) => {
                let options = method.options(&self.statistics());
                let totals = nwc::compress(&self.inputs.model, work, &options, &NoProgress)?.totals;
                (totals.bpw_payload_linear, totals.bpw_total, totals.nmse)
            }
            How::Recover(flags) => {
                let mut arguments = vec!["compress".into(), self.inputs.model.clone(), work.into()];
                arguments.extend(["--embeddings".into(), "keep".into()]);
                arguments.extend(flags.iter().map(|flag| match flag.as_str() {
                    STATISTICS => self.statistics(),
                    CALIBRATION_TEXT => self.inputs.texts.calibration.clone(),
                    other => other.into(),
                }));
                self.program.run(arguments)?;
                let totals = nwc::inspect(work)?.totals;
                (totals.bpw_payload_linear, totals.bpw_total, totals.nmse)
            }
            How::Baseline(baseline) => {
                let cost = baseline.write(&self.inputs.model, &self.statistics(), work)?;
                (cost.bpw_payload, cost.bpw_total, cost.nmse)
            }
            How::LlamaCpp(name) => return peers::quantise(name, &self.inputs.model, work),
        };
        Ok(Quantised {
            bpw_payload,
            bpw_total,
            nmse,
            stored_as: BTreeMap::new(),
        })
    }

    fn row_key(&self, plan: &Plan) -> Key {
        let codec = plan.lambda.and_then(|l| nwc::pretrained(l as f32).ok());
        Key {
            codec: codec.map(|bytes| Digest::of(bytes).to_string()),
            command: match &plan.how {
                How::Compress(method) => format!("{method:?}"),
                How::Recover(flags) => format!("compress --embeddings keep {}", flags.join(" ")),
                How::Baseline(baseline) => baseline.to_string(),
                How::LlamaCpp(name) => format!("{name} by {}", peers::packages()),
            },
            calibration_text: match plan.how {
                // Quantised without any text, so it is the same row whatever others are calibrated on.
                How::LlamaCpp(_) => String::new(),
                _ => self.key.calibration_text.clone(),
            },
            ..self.key.clone()
        }
    }

    /// The rows of `cargo xtask peers` in the file `path` that were measured on what this bench measures on.
    ///
    /// Empty where there is no such file.
    pub(super) fn peers_in(&self, path: &Path) -> Vec<(Plan, Row)> {
        let found: Vec<Row> = read_json(path).unwrap_or_default();
        let plans = rows::peers().into_iter();
        let kept = plans.filter_map(|plan| {
            let key = self.row_key(&plan);
            let row = found.iter().find(|row| row.key == key)?.clone();
            Some((plan, row))
        });
        kept.collect()
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::text::Texts;
    use super::*;
    use crate::{sample, shard};

    /// Stands for `nwc-cli`: notes its arguments, makes what it is asked to make, prints figures.
    const PROGRAM: &str = r#"#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
case "$2" in
    calibrate) while [ $# -gt 1 ]; do [ "$1" = --out ] && touch "$2"; shift; done ;;
    generate) echo "and so on" ;;
    eval) [ -d "$3" ] && echo '{"n_windows": 1, "n_tokens": 7, "perplexity": 9.5,
        "reference_perplexity": 9, "kl": 0.05, "kl_standard_error": 0.01, "kl_99_percent": 0.2,
        "top1_agreement": 0.9}' ;;
esac
"#;

    #[test]
    fn a_row_is_measured_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("model")).unwrap();
        fs::write(path("model/config.json"), "{}").unwrap();
        let weights = sample::gaussian(128, 128, 1);
        let tensor = (
            "model.layers.0.mlp.up_proj.weight",
            &[128, 128][..],
            weights.as_slice().unwrap(),
        );
        shard::write_f32(&path("model/model.safetensors"), &[tensor]);
        fs::write(path("a.txt"), "a").unwrap();
        fs::write(path("b.txt"), "b").unwrap();
        fs::write(path("nwc-cli"), PROGRAM).unwrap();
        fs::set_permissions(path("nwc-cli"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut inputs = Inputs {
            model: path("model"),
            cli: path("nwc-cli"),
            texts: Texts {
                calibration: path("a.txt"),
                evaluation: path("b.txt"),
            },
            lambdas: vec![30.0],
            ctx: 8,
            max_tokens: 8,
            only: Vec::new(),
            full: false,
            windows: Windows::FEW,
            prompt: Some("a b".into()),
            peers: path("peers.json"),
            out: path("out"),
        };
        let plans = rows::all(&[30.0], false);
        let plan = plans
            .iter()
            .find(|p| p.name() == "data-free-level-0-lambda30")
            .unwrap();
        let bench = Bench::new(&inputs).unwrap();
        bench.calibrate().unwrap();
        bench.calibrate().unwrap();
        assert_eq!(bench.kept(plan), None);
        let row = bench.measure(plan).unwrap();
        assert!((1.5..3.0).contains(&row.bpw_payload), "{row:?}");
        assert!(
            (0.03..0.2).contains(&row.nmse) && row.evaluation.kl == 0.05,
            "{row:?}"
        );
        assert_eq!(row.continuation.as_deref(), Some("and so on\n"));
        assert_eq!(bench.kept(plan), Some(row));
        assert!(!path("out/work").join(plan.name()).exists());
        let calls = fs::read_to_string(path("calls")).unwrap();
        let calls: Vec<_> = calls.lines().collect();
        // One calibration, one evaluation, one text continued.
        assert_eq!(calls.len(), 3, "{calls:?}");
        assert!(
            calls[0].contains("--windows 8 --fisher-windows 24"),
            "{}",
            calls[0]
        );
        assert!(
            calls[2].contains("--prompt a b --tokens 60"),
            "{}",
            calls[2]
        );
        // Rows of peers are those measured on the same, whatever was calibrated on.
        let peer = &rows::peers()[0];
        let mut peers_row = bench.kept(plan).unwrap();
        peers_row.key = Key {
            calibration_text: String::new(),
            codec: None,
            ..bench.row_key(peer)
        };
        let text = serde_json::to_string(&[&peers_row]).unwrap();
        fs::write(&inputs.peers, text).unwrap();
        assert_eq!(bench.peers_in(&inputs.peers), [(peer.clone(), peers_row)]);
        // Evaluated on something else, it is another row.
        inputs.max_tokens = 16;
        assert_eq!(Bench::new(&inputs).unwrap().peers_in(&inputs.peers), []);
        assert_eq!(Bench::new(&inputs).unwrap().kept(plan), None);
    }
}
