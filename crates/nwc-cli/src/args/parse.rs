//! Parsing of values.

use std::fmt;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A device as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
    /// The first CUDA device if there is one, otherwise the processor.
    Auto,
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match (s, s.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            ("auto", _) => Ok(Self::Auto),
            (_, Some(Ok(idx))) => Ok(Self::Cuda(idx)),
            _ => Err("allowed: cpu, cuda, cuda:N, auto"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(idx) => write!(f, "cuda:{idx}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// Parses the name of one of `choices`, each a name, its help and a value.
pub(super) fn one_of<T: Clone + Send + Sync + 'static>(
    choices: &'static [(&'static str, &'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let names = choices
        .iter()
        .map(|(name, help, _)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(names).try_map(move |given| {
        let found = choices.iter().find(|(name, ..)| *name == given);
        found.map(|(.., value)| value.clone()).ok_or("unknown name")
    })
}

/// Parses the lambda of a pretrained codec.
pub(super) fn parse_lambda(s: &str) -> Result<f32, String> {
    match s.parse() {
        Ok(lambda) if nwc::PRETRAINED_LAMBDAS.contains(&lambda) => Ok(lambda),
        _ => Err(format!("allowed: {}", pretrained_lambdas())),
    }
}

/// The lambdas that have a pretrained codec, in words.
pub(super) fn pretrained_lambdas() -> String {
    let lambdas = nwc::PRETRAINED_LAMBDAS.iter().map(f32::to_string);
    let lambdas: Vec<String> = lambdas.collect();
    match lambdas.split_last() {
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => "none".into(),
    }
}

/// Parses a size in bytes, as in `60MB`, `1.5 GB` or `4096`; units are decimal.
pub(super) fn parse_size(s: &str) -> Result<u64, String> {
    let s = s.trim();
    let digits = s.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = s[digits.len()..].trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        _ => return Err(format!("unknown unit {unit}; use kB, MB or GB")),
    };
    match digits.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok((x * factor) as u64),
        _ => Err(format!("{digits} is not a positive number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("60MB"), Ok(60_000_000));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("60 parsecs").is_err());
        assert!(parse_size("-1").is_err());
        assert!(parse_size("é").is_err());
    }

    #[test]
    fn lambdas() {
        assert_eq!(pretrained_lambdas(), "30, 50, 100, 300, 1000 or 10000");
        assert_eq!(parse_lambda("1e4"), Ok(10_000.0));
        for name in ["31", "x", "NaN"] {
            assert!(parse_lambda(name).unwrap_err().contains("10000"), "{name}");
        }
    }

    #[test]
    fn devices() {
        for name in ["cpu", "cuda:0", "cuda:17", "auto"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for name in ["tpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }
}
