//! The whole of the bridge: candle asks by name and shape, `nwc` decodes that one tensor.

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use nwc::Checkpoint;

/// Lets candle's `VarBuilder` ask a compressed (or plain) checkpoint for its tensors.
///
/// Nothing is kept: a tensor is decoded when a layer asks for it, so memory holds the layers and one tensor more.
pub struct NwcBackend(pub Checkpoint);

impl SimpleBackend for NwcBackend {
    fn get(
        &self,
        expected: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        // Told apart before anything is decoded, with candle's own error.
        let found = self.0.info(name).map_err(Error::wrap)?.shape;
        if expected.dims() != found {
            return Err(Error::UnexpectedShape {
                msg: format!("shape of {name}"),
                expected,
                got: found.into(),
            });
        }
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.0.info(name).map_err(Error::wrap)?.shape;
        let weights = self.0.tensor(name).map_err(Error::wrap)?;
        Tensor::from_vec(weights, shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.info(name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Module as _;
    use candle_nn::{VarBuilder, linear_no_bias};

    use super::*;

    const LINEAR: &str = "model.layers.0.mlp.up_proj";

    fn fixture() -> Checkpoint {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Checkpoint::open(&root.join("fixtures/v1/neural")).unwrap()
    }

    #[test]
    fn a_layer_multiplies_by_the_decoded_weights() {
        let name = format!("{LINEAR}.weight");
        let checkpoint = fixture();
        let shape = checkpoint.info(&name).unwrap().shape;
        let (n_out, n_in) = (shape[0], shape[1]);
        let weights = checkpoint.tensor(&name).unwrap();
        let vb =
            VarBuilder::from_backend(Box::new(NwcBackend(checkpoint)), DType::F32, Device::Cpu);
        assert!(vb.contains_tensor(&name));
        let layer = linear_no_bias(n_in, n_out, vb.pp(LINEAR)).unwrap();
        let input: Vec<f32> = (0..n_in).map(|i| (i as f32 * 0.1).sin()).collect();
        let output = layer
            .forward(&Tensor::from_slice(&input, (1, n_in), &Device::Cpu).unwrap())
            .unwrap();
        let output: Vec<f32> = output.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(output.len(), n_out);
        for (row, found) in weights.chunks_exact(n_in).zip(output) {
            let expected: f32 = row.iter().zip(&input).map(|(w, x)| w * x).sum();
            assert!((expected - found).abs() < 1e-4, "{found}, not {expected}");
        }
    }

    #[test]
    fn what_is_not_there_or_has_another_shape_is_refused() {
        let vb = VarBuilder::from_backend(Box::new(NwcBackend(fixture())), DType::F32, Device::Cpu);
        assert!(!vb.contains_tensor("model.nothing.weight"));
        let error = linear_no_bias(1, 1, vb.pp("model.nothing")).unwrap_err();
        assert!(error.to_string().contains("model.nothing"), "{error}");
        let error = linear_no_bias(3, 5, vb.pp(LINEAR)).unwrap_err();
        assert!(error.to_string().contains("[5, 3]"), "{error}");
    }
}
