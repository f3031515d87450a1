//! Names, shapes and starting values of a neural codec's parameters.

use std::collections::BTreeMap;

use nwc_chunk::ndarray::{ArrayD, IxDyn};

use crate::{CodecConfig, Error, Result};

/// Parameters of a codec by name; PyTorch's layout, linear weights are `[out, in]`.
pub type Parameters = BTreeMap<String, ArrayD<f32>>;

/// Most parameters that a codec may have: 2^27, half a gigabyte; the paper's has 2^21.
pub const MAX_PARAMETERS: usize = 1 << 27;

/// Name of the latents' rounding offsets, `[n_quality_levels, latent_dim]`.
pub(crate) const MEDIAN: &str = "median";
/// Name of the quality embedding of the analysis (of both transforms where shared), `[n_quality_levels, width]`.
pub(crate) const ENCODER_EMBEDDING: &str = "quality_embedding.encoder";
/// Name of the synthesis' own quality embedding, `[n_quality_levels, width]`.
pub(crate) const DECODER_EMBEDDING: &str = "quality_embedding.decoder";

/// Names and shapes of all parameters of a codec, in the order of the data flow.
///
/// `encoder.*` is the analysis `[chunk_len] -> [latent_dim]`, `decoder.*` the synthesis. Source: `docs/METHOD.md` 1.2.
///
/// # Errors
/// [`Error::Config`] where the configuration is not valid or asks for more than [`MAX_PARAMETERS`].
pub(super) fn parameter_shapes(config: &CodecConfig) -> Result<Vec<(String, Vec<usize>)>> {
    config.validate()?;
    let n_parameters = n_parameters(config);
    if n_parameters > MAX_PARAMETERS as u64 {
        return Err(Error::Config {
            field: "n_parameters",
            found: n_parameters.to_string(),
            allowed: format!("at most {MAX_PARAMETERS}"),
        });
    }
    let (width, n_levels) = (config.width, config.n_quality_levels());
    let mut shapes = Vec::new();
    for (side, n_in, n_out) in [
        ("encoder", config.chunk_len, config.latent_dim),
        ("decoder", config.latent_dim, config.chunk_len),
    ] {
        shapes.push((format!("{side}.input.weight"), vec![width, n_in]));
        shapes.push((format!("{side}.input.bias"), vec![width]));
        for block in 0..config.n_blocks {
            let prefix = format!("{side}.blocks.{block}");
            shapes.push((format!("{prefix}.linear.weight"), vec![width, width]));
            shapes.push((format!("{prefix}.linear.bias"), vec![width]));
            shapes.push((format!("{prefix}.norm.weight"), vec![width]));
            shapes.push((format!("{prefix}.norm.bias"), vec![width]));
        }
        shapes.push((format!("{side}.output.weight"), vec![n_out, width]));
        shapes.push((format!("{side}.output.bias"), vec![n_out]));
    }
    shapes.push((ENCODER_EMBEDDING.into(), vec![n_levels, width]));
    if !config.shared_quality_embedding {
        shapes.push((DECODER_EMBEDDING.into(), vec![n_levels, width]));
    }
    shapes.push((MEDIAN.into(), vec![n_levels, config.latent_dim]));
    Ok(shapes)
}

/// Number of parameters of a valid configuration; its limits keep this far inside u64.
fn n_parameters(config: &CodecConfig) -> u64 {
    let [chunk, latent, width, blocks, levels] = [
        config.chunk_len,
        config.latent_dim,
        config.width,
        config.n_blocks,
        config.n_quality_levels(),
    ]
    .map(|n| n as u64);
    let transforms =
        2 * (width * (chunk + latent + 1) + blocks * width * (width + 3)) + chunk + latent;
    let embeddings = levels
        * width
        * if config.shared_quality_embedding {
            1
        } else {
            2
        };
    transforms + embeddings + levels * latent
}

/// Checks that `parameters` are exactly those of `config`, in name and shape, and finite.
///
/// # Errors
/// [`Error::ParameterMissing`], [`Error::ParameterUnknown`], [`Error::ParameterShape`],
/// [`Error::ParameterNotFinite`]; [`Error::Config`] where its sizes are out of range.
pub fn check_parameters(config: &CodecConfig, parameters: &Parameters) -> Result<()> {
    let shapes = parameter_shapes(config)?;
    for (name, expected) in &shapes {
        let Some(values) = parameters.get(name) else {
            return Err(Error::ParameterMissing { name: name.clone() });
        };
        if values.shape() != expected {
            return Err(Error::ParameterShape {
                name: name.clone(),
                found: values.shape().to_vec(),
                expected: expected.clone(),
            });
        }
        if let Some((idx, &found)) = values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(Error::ParameterNotFinite {
                name: name.clone(),
                idx,
                found,
            });
        }
    }
    if parameters.len() != shapes.len() {
        let known = |name: &String| shapes.iter().any(|(known, _)| known == name);
        if let Some(name) = parameters.keys().find(|name| !known(name)) {
            return Err(Error::ParameterUnknown { name: name.clone() });
        }
    }
    Ok(())
}

/// All parameters of `config`, zero.
///
/// # Errors
/// As [`parameter_shapes`].
pub(super) fn zero_parameters(config: &CodecConfig) -> Result<Parameters> {
    let shapes = parameter_shapes(config)?;
    Ok(shapes
        .into_iter()
        .map(|(name, shape)| (name, ArrayD::zeros(IxDyn(&shape))))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_has_as_many_parameters_as_counted() {
        // `docs/METHOD.md` 1.2: encoder 1,071,632, decoder the same, embedding 2,048; plus our medians 4 * 16.
        let config = CodecConfig::paper(300.0);
        assert_eq!(n_parameters(&config), 2 * 1_071_632 + 2_048 + 64);
        for config in [config, CodecConfig::small(300.0), CodecConfig::tiny(300.0)] {
            let total: usize = zero_parameters(&config)
                .unwrap()
                .values()
                .map(|values| values.len())
                .sum();
            assert_eq!(total as u64, n_parameters(&config));
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Parameters), expected: &str) {
        let config = CodecConfig::tiny(300.0);
        let mut parameters = zero_parameters(&config).unwrap();
        change(&mut parameters);
        let error = check_parameters(&config, &parameters).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn wrong_parameters_are_named() {
        check(
            |p| drop(p.remove("encoder.input.bias")),
            "codec has no tensor encoder.input.bias",
        );
        check(
            |p| drop(p.insert("extra".into(), ArrayD::zeros(IxDyn(&[1])))),
            "codec has a tensor extra that its configuration does not know",
        );
        check(
            |p| drop(p.insert(MEDIAN.into(), ArrayD::zeros(IxDyn(&[4])))),
            "codec tensor median has shape [4], expected [4, 4]",
        );
        check(
            |p| {
                if let Some(median) = p.get_mut(MEDIAN) {
                    median[[1, 0]] = f32::NAN;
                }
            },
            "codec tensor median holds NaN at element 4, allowed: finite numbers",
        );
    }

    #[test]
    fn a_codec_too_large_is_refused_before_it_takes_memory() {
        let config = CodecConfig {
            width: 8192,
            n_blocks: 64,
            ..CodecConfig::paper(30.0)
        };
        let error = zero_parameters(&config).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Config {
                    field: "n_parameters",
                    ..
                }
            ),
            "{error}"
        );
    }
}
