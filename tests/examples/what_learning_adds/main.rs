//! What learning adds over the entropy-coded trellis, in bits a weight at equal weighted squared error.
//!
//! `cargo run --release -p nwc-tests --example what_learning_adds -- MODEL STATISTICS OUT [PART...]`
//! writes one JSON file a part to the folder OUT. Parts: `points`, `companding`, `context`, `transform`,
//! `network`, `latents`; all where none is named.
#![allow(clippy::print_stdout, reason = "an experiment prints what it finds")]

mod context;
mod curve;
mod data;
mod latents;
mod network;
mod points;
mod scheme;
mod transform;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use curve::Curve;
use data::{Layers, Targets};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Stored bits a weight, side information included, that the targets are taken at.
const RATES: [f64; 3] = [2.08, 3.05, 4.03];
const PARTS: [&str; 6] = [
    "points",
    "companding",
    "context",
    "transform",
    "network",
    "latents",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(statistics), Some(out)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("arguments: MODEL STATISTICS OUT [PART...]".into());
    };
    let named: Vec<String> = arguments.collect();
    if let Some(part) = named.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("part {part}, expected one of {PARTS:?}").into());
    }
    let is_asked = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let out = PathBuf::from(out);
    std::fs::create_dir_all(&out)?;
    if is_asked("latents") {
        write(&out, "latents", &latents::measure(Path::new(&model))?)?;
    }
    if !PARTS[..5].iter().any(|part| is_asked(part)) {
        return Ok(());
    }
    let layers = Layers::read(Path::new(&model), Path::new(&statistics))?;
    let mut reports: Vec<Vec<Value>> = vec![Vec::new(); 5];
    for rate in RATES {
        let targets = layers.targets(rate)?;
        let curve = Curve::product(&targets.fitted, &targets.measured)?;
        let head = head(rate, &targets, &curve);
        println!("{head}");
        for (part, reports) in PARTS[..5].iter().zip(&mut reports) {
            if !is_asked(part) {
                continue;
            }
            println!(" {part}");
            let rows = match *part {
                "points" => points::reconstruction(&targets, &curve)?,
                "companding" => points::companding(&targets, &curve)?,
                "context" => context::measure(&targets)?,
                "transform" => transform::measure(&targets)?,
                _ => network::measure(&targets)?,
            };
            reports.push(json!({ "product": head, "rows": rows }));
        }
    }
    for (part, reports) in PARTS.iter().zip(reports).filter(|(_, r)| !r.is_empty()) {
        write(&out, part, &Value::Array(reports))?;
    }
    Ok(())
}

/// What the product makes of the targets, coded by itself and by this experiment's copy of its quantiser.
fn head(rate: f64, targets: &Targets, curve: &Curve) -> Value {
    json!({
        "rate_asked": rate,
        "delta": targets.delta,
        "bits_stored": targets.product_bits,
        "bits_ideal": targets.product_ideal_bits,
        "error": targets.product_error,
        "bits_of_the_copy": curve.middle().bits,
        "error_of_the_copy": curve.middle().error,
    })
}

fn write(out: &Path, part: &str, report: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(out.join(format!("{part}.json")), text)?;
    Ok(())
}
