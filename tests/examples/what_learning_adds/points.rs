//! Reconstruction points and companding: where the trellis puts its values.

use serde_json::{Value, json};

use crate::Result;
use crate::curve::Curve;
use crate::data::Targets;
use crate::scheme::{Companding, Points, Scheme, Variant};

/// Parameters that companding is tried with.
const ASINH: [f32; 6] = [-0.3, -0.15, 0.15, 0.3, 0.5, 0.8];
const POWERS: [f32; 4] = [0.85, 0.92, 1.08, 1.15];

/// Bits saved by each kind of reconstruction point.
pub(crate) fn reconstruction(targets: &Targets, curve: &Curve) -> Result<Value> {
    let mut rows = Vec::new();
    let kinds = [
        ("integers", Points::Integers),
        ("4 ranks a parity, all buckets alike", Points::SharedRanks),
        ("4 ranks a bucket and parity (product)", Points::Ranks),
        ("a centroid a symbol, bucket and parity", Points::Centroids),
    ];
    for (name, points) in kinds {
        let variant = Variant {
            points,
            ..Variant::PRODUCT
        };
        rows.push(row(name, variant, targets, curve)?);
    }
    let scalar = Variant {
        n_states: 1,
        ..Variant::PRODUCT
    };
    // One state uses every second integer: the same rate at about the same step.
    rows.push(row("no trellis (1 state)", scalar, targets, curve)?);
    Ok(Value::Array(rows))
}

/// Bits saved by companding, with learned points after it.
pub(crate) fn companding(targets: &Targets, curve: &Curve) -> Result<Value> {
    let asinh = ASINH.map(|b| (format!("asinh {b}"), Companding::Asinh(b)));
    let powers = POWERS.map(|p| (format!("power {p}"), Companding::Power(p)));
    let mut rows = Vec::new();
    for (name, companding) in asinh.into_iter().chain(powers) {
        let variant = Variant {
            companding,
            ..Variant::PRODUCT
        };
        rows.push(row(&name, variant, targets, curve)?);
    }
    Ok(Value::Array(rows))
}

fn row(name: &str, variant: Variant, targets: &Targets, curve: &Curve) -> Result<Value> {
    let scheme = Scheme::fit(variant, &targets.fitted, 0)?;
    let point = scheme.measure(&targets.measured, 0);
    let saved = curve.saved(point);
    println!(
        "  {name:42} {:.4} bits, error {:.5}: saves {saved:+.4}",
        point.bits, point.error
    );
    Ok(json!({
        "what": name, "bits": point.bits, "error": point.error, "saved": saved,
        "table_bytes": scheme.table_bytes,
    }))
}
