//! Writes GGUF files, version 3, little endian, of f32 tensors; `model/gguf.rs` reads them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::model::gguf::Gguf;
use crate::model::llama::Llama;
use crate::model::permute::interleave_rotary_halves;

const MAGIC: &[u8] = b"GGUF";
const VERSION: u32 = 3;
/// Where tensors may start: what readers take when the metadata does not say otherwise.
const ALIGNMENT: u64 = 32;
/// GGML's number of the type f32.
const F32: u32 = 0;
/// Metadata that does not hold for what is written here.
const REPLACED: [&str; 3] = [
    "general.alignment",
    "general.file_type",
    "general.quantization_version",
];

/// A tensor to be written.
struct Tensor<'a> {
    /// GGUF's name.
    name: &'a str,
    /// Row-major shape.
    shape: Vec<usize>,
}

/// Writes the plain checkpoint in `model` to the file `to`.
///
/// `original` is the GGUF file that the checkpoint was imported from: it gives the metadata, tokenizer included,
/// and the names. The values, all of them as f32, are the checkpoint's.
///
/// # Errors
/// Where the two do not belong together or a file cannot be read or written.
pub(super) fn write(model: &Path, original: &Gguf<'_>, to: &Path) -> Result<()> {
    let llama = Llama::from_gguf(original)?;
    let checkpoint = nwc::Checkpoint::open(model)?;
    let mut tensors = Vec::new();
    for name in original.tensors.keys() {
        let counterpart = llama.counterpart(name)?;
        let found = checkpoint.info(&counterpart.name)?.shape;
        ensure!(
            found == counterpart.shape,
            "{} is {found:?}, expected {:?}",
            counterpart.name,
            counterpart.shape
        );
        tensors.push(Tensor { name, shape: found });
    }
    let mut file =
        BufWriter::new(File::create(to).with_context(|| format!("cannot make {}", to.display()))?);
    let written = || format!("cannot write {}", to.display());
    write_head(&mut file, original, &tensors).with_context(written)?;
    for tensor in &tensors {
        let counterpart = llama.counterpart(tensor.name)?;
        let values = checkpoint.tensor(&counterpart.name)?;
        let values = match counterpart.rotary_head_dim {
            Some(head_dim) => {
                interleave_rotary_halves(&values, head_dim, *tensor.shape.last().unwrap_or(&1))
            }
            None => values,
        };
        write_values(&mut file, &values).with_context(written)?;
    }
    file.flush().with_context(written)
}

/// Everything before the first tensor's values.
fn write_head(out: &mut impl Write, original: &Gguf<'_>, tensors: &[Tensor<'_>]) -> io::Result<()> {
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    let kept = original.stored_metadata.iter();
    let kept: Vec<_> = kept
        .filter(|(key, _)| !REPLACED.contains(&key.as_str()))
        .collect();
    head.extend((kept.len() as u64 + 1).to_le_bytes());
    // Type 4 is u32, and file type 0 stands for "all f32".
    push_text(&mut head, "general.file_type");
    head.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    for (key, value) in kept {
        push_text(&mut head, key);
        head.extend(*value);
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        push_text(&mut head, tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        for &len in tensor.shape.iter().rev() {
            head.extend((len as u64).to_le_bytes());
        }
        head.extend(F32.to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += n_bytes(tensor).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&head)
}

fn n_bytes(tensor: &Tensor<'_>) -> u64 {
    (tensor.shape.iter().product::<usize>() * size_of::<f32>()) as u64
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Values, then zeros up to where the next tensor may start.
fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gguf::{Value, tests::small_file};

    #[test]
    fn what_is_written_is_read_back() {
        let original = small_file();
        let original = Gguf::parse(&original).unwrap();
        let tensors =
            [("a", vec![3]), ("b", vec![2, 3])].map(|(name, shape)| Tensor { name, shape });
        let mut file = Vec::new();
        write_head(&mut file, &original, &tensors).unwrap();
        write_values(&mut file, &[1.0, 2.0, 3.0]).unwrap();
        write_values(&mut file, &[4.0, 5.0, 6.0, 7.0, 8.0, -9.0]).unwrap();
        let read = Gguf::parse(&file).unwrap();
        assert_eq!(read.metadata["general.file_type"], Value::Unsigned(0));
        for (key, value) in &original.metadata {
            assert_eq!(read.metadata.get(key), Some(value), "{key}");
        }
        let values = |name: &str| -> Vec<f32> {
            let info = &read.tensors[name];
            assert_eq!(info.offset % 32, 0);
            let bytes = read.bytes_from(info).chunks_exact(4);
            let values = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values.take(info.shape.iter().product()).collect()
        };
        assert_eq!(read.tensors["b"].shape, [2, 3]);
        assert_eq!(values("a"), [1.0, 2.0, 3.0]);
        assert_eq!(values("b"), [4.0, 5.0, 6.0, 7.0, 8.0, -9.0]);
    }

    #[test]
    fn what_does_not_hold_any_more_is_replaced() {
        for key in REPLACED {
            let original = crate::model::gguf::tests::with_text(key, "stale");
            let original = Gguf::parse(&original);
            // An alignment that is no number is refused before.
            if let Ok(original) = original {
                let mut file = Vec::new();
                write_head(&mut file, &original, &[]).unwrap();
                let read = Gguf::parse(&file).unwrap();
                assert_eq!(read.metadata.len(), 1, "{key}");
            }
        }
    }
}
