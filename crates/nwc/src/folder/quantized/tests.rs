//! Opened weights against those of other packages, from `fixtures/quantized` (`tests/scripts/quantized_fixtures.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nwc_format::{Header, Limits};

use super::{Details, Method, Part, detect, opened_shape};
use crate::classify::Facts;
use crate::folder::dtype;

/// Opens the weight in a fixture as `method` and compares it with what the fixture expects.
///
/// Values agree to the last bit of f32: all products are of numbers with few bits.
#[track_caller]
fn check(file: &str, method: Method, config: serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/quantized")
        .join(file);
    let bytes = fs::read(&path).unwrap();
    let header = Header::parse(&bytes, bytes.len() as u64, &Limits::default()).unwrap();
    let part = |name: &str| {
        let entry = header.entry(name).unwrap();
        Part {
            dtype: entry.dtype,
            shape: &entry.shape,
            bytes: &bytes[entry.range.start as usize..entry.range.end as usize],
        }
    };
    let facts = header.entries().iter().map(|entry| Facts {
        name: &entry.name,
        dtype: entry.dtype,
        shape: &entry.shape,
    });
    let found = detect(facts);
    let [group] = found.groups.as_slice() else {
        panic!("{:?}", found.groups);
    };
    assert_eq!(group.method, method);
    let details = Details::from_config(Some(&config));
    let parts: BTreeMap<&str, Part<'_>> = group
        .parts
        .iter()
        .map(|(key, name)| (*key, part(name)))
        .collect();
    let (values, shape) = super::open::open_values(method, &parts, &details).unwrap();

    let expected = part("expected");
    assert_eq!(shape, expected.shape);
    let shape_of = |name: &str| Some(header.entry(name)?.shape.clone());
    assert_eq!(opened_shape(group, shape_of, &details), Some(shape));
    let expected = dtype::to_f32(expected.dtype, expected.bytes).unwrap();
    assert_eq!(values, expected, "{file}");
}

#[test]
fn opened_as_other_packages_open_them() {
    let none = || serde_json::json!({});
    let block = serde_json::json!({"quant_method": "fp8", "weight_block_size": [16, 16]});
    check("fp8_block.safetensors", Method::Fp8, block);
    check("fp8_row.safetensors", Method::Fp8, none());
    check("fp8_tensor.safetensors", Method::Fp8, none());
    check("mxfp4.safetensors", Method::Mxfp4, none());
    check("gptq_4bit.safetensors", Method::Gptq, none());
    check(
        "gptq_8bit_shuffled.safetensors",
        Method::Gptq,
        serde_json::json!({"bits": 8}),
    );
    check("awq.safetensors", Method::Awq, none());
}
