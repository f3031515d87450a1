//! Writes `fixtures/parity/NAME.safetensors`: random codecs and what LibTorch makes of chunks with them.
//!
//! `cargo run -p nwc-train --example export_parity -- fixtures/parity`. Each file holds the codec file as U8
//! `codec`, and F32 `chunks`, `latents`, `reconstruction`, I32 `symbols`, U8 `levels`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use nwc_chunk::ndarray::Array2;
use nwc_codec::CodecConfig;
use nwc_train::parity_case;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Chunks at each quality level.
const N_PER_LEVEL: usize = 33;
/// The paper's seed.
const SEED: u64 = 100;

fn main() -> anyhow::Result<()> {
    let Some(out_dir) = std::env::args().nth(1) else {
        bail!("usage: export_parity OUT_DIR");
    };
    // As the paper's, with its shared embedding and four blocks, but narrow: the file stays small.
    let narrow_paper = CodecConfig {
        width: 48,
        ..CodecConfig::paper(300.0)
    };
    for (name, config) in [
        ("narrow_paper", narrow_paper),
        ("small", CodecConfig::small(300.0)),
        ("tiny", CodecConfig::tiny(300.0)),
    ] {
        let case = parity_case(&config, N_PER_LEVEL, SEED)?;
        let codec = case.codec.to_bytes()?;
        let levels: Vec<u8> = case.levels.iter().map(|level| level.0).collect();
        let floats = |array: &Array2<f32>| {
            array
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let symbols = case
            .symbols
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>();
        let shape = |array: &Array2<f32>| array.shape().to_vec();
        let tensors = BTreeMap::from([
            ("codec", (Dtype::U8, vec![codec.len()], codec)),
            ("levels", (Dtype::U8, vec![levels.len()], levels)),
            (
                "chunks",
                (Dtype::F32, shape(&case.chunks), floats(&case.chunks)),
            ),
            (
                "latents",
                (Dtype::F32, shape(&case.latents), floats(&case.latents)),
            ),
            (
                "symbols",
                (Dtype::I32, case.symbols.shape().to_vec(), symbols),
            ),
            (
                "reconstruction",
                (
                    Dtype::F32,
                    shape(&case.reconstruction),
                    floats(&case.reconstruction),
                ),
            ),
        ]);
        let mut views = Vec::new();
        for (name, (dtype, shape, bytes)) in &tensors {
            views.push((*name, TensorView::new(*dtype, shape.clone(), bytes)?));
        }
        let path = Path::new(&out_dir).join(format!("{name}.safetensors"));
        let file = safetensors::serialize(views, None)?;
        std::fs::write(&path, file).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
