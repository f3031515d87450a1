//! The codec set of the repository, built into the library so that nothing needs training first.

use nwc_codec::Codec;

use crate::{Error, Result};

macro_rules! set {
    ($($lambda:literal),*) => {
        [$(($lambda as f32, include_bytes!(concat!("../../../codecs/small-lambda", $lambda, ".safetensors")).as_slice())),*]
    };
}

/// Codec files of preset `small`, coarsest first.
const SET: [(f32, &[u8]); 6] = set!(30, 50, 100, 300, 1000, 10000);

/// The lambdas that the pretrained set has, coarsest first.
pub const PRETRAINED_LAMBDAS: [f32; 6] = [30.0, 50.0, 100.0, 300.0, 1000.0, 10000.0];

/// The pretrained codec file for `lambda`.
///
/// # Errors
/// [`Error::Argument`] where the set has none.
pub fn pretrained(lambda: f32) -> Result<&'static [u8]> {
    SET.iter()
        .find(|(l, _)| *l == lambda)
        .map(|(_, bytes)| *bytes)
        .ok_or_else(|| Error::Argument {
            argument: "lambda",
            found: lambda.to_string(),
            allowed: format!("{PRETRAINED_LAMBDAS:?}; any other needs a codec file"),
        })
}

/// The lambda that embeddings are coded at beside linear weights at `lambda`: the next better one of the set.
pub(crate) fn next_better(lambda: f32) -> f32 {
    PRETRAINED_LAMBDAS
        .into_iter()
        .find(|l| *l > lambda)
        .unwrap_or(lambda)
}

/// Parses a codec file that errors call `name`.
pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Codec> {
    Codec::from_bytes(bytes).map_err(|source| Error::Codec {
        name: name.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lambda_has_a_codec_trained_for_it() {
        for lambda in PRETRAINED_LAMBDAS {
            let codec = parse("pretrained", pretrained(lambda).unwrap()).unwrap();
            match codec {
                Codec::Neural(codec) => assert_eq!(codec.config().lambda, lambda),
                other => panic!("{other:?}"),
            }
        }
        assert!(pretrained(17.0).is_err());
        assert_eq!(next_better(30.0), 50.0);
        assert_eq!(next_better(10000.0), 10000.0);
    }
}
