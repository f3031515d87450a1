//! Sources of weights: the trait, and tensors in memory.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// One tensor of a checkpoint, widened to f32.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightTensor {
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements in row-major order; their number is the product of `shape`.
    pub data: Vec<f32>,
}

/// A checkpoint whose tensors are read one at a time.
///
/// Plain and compressed folders implement it alike, so a compressed one runs without being unpacked first.
pub trait WeightSource {
    /// The names of all tensors.
    fn names(&self) -> Vec<String>;

    /// Whether there is a tensor of this name.
    fn contains(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }

    /// Reads (and, if necessary, decodes) one tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if there is no such tensor; [`Error::WeightSource`] and others if reading fails.
    fn tensor(&self, name: &str) -> Result<WeightTensor>;
}

/// Tensors in memory: for tests, and for a model that is changed in place.
#[derive(Debug, Clone, Default)]
pub struct MemoryWeights {
    /// The tensors by name.
    pub tensors: BTreeMap<String, WeightTensor>,
}

impl MemoryWeights {
    /// All tensors of `source`.
    ///
    /// # Errors
    /// As [`WeightSource::tensor`].
    pub fn read(source: &dyn WeightSource) -> Result<Self> {
        let names = source.names().into_iter();
        let tensors = names.map(|name| {
            let tensor = source.tensor(&name)?;
            Ok((name, tensor))
        });
        Ok(Self {
            tensors: tensors.collect::<Result<_>>()?,
        })
    }
}

impl WeightSource for MemoryWeights {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Error::MissingTensor {
                name: name.to_owned(),
            })
    }
}

/// A source with some tensors replaced, for instance by quantised ones.
#[derive(Debug)]
pub struct OverlaidWeights<'s, S: ?Sized> {
    /// The source of all other tensors.
    pub base: &'s S,
    /// The replacements by name.
    pub replaced: BTreeMap<String, WeightTensor>,
}

impl<S: WeightSource + ?Sized> WeightSource for OverlaidWeights<'_, S> {
    fn names(&self) -> Vec<String> {
        self.base.names()
    }

    fn contains(&self, name: &str) -> bool {
        self.replaced.contains_key(name) || self.base.contains(name)
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        match self.replaced.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => self.base.tensor(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_takes_precedence() {
        let tensor = |v: f32| WeightTensor {
            shape: vec![1],
            data: vec![v],
        };
        let base = MemoryWeights {
            tensors: [("a".to_owned(), tensor(1.0)), ("b".to_owned(), tensor(2.0))].into(),
        };
        let overlaid = OverlaidWeights {
            base: &base,
            replaced: [("b".to_owned(), tensor(3.0))].into(),
        };
        assert_eq!(overlaid.tensor("a").unwrap().data, [1.0]);
        assert_eq!(overlaid.tensor("b").unwrap().data, [3.0]);
        assert!(overlaid.contains("a") && !overlaid.contains("c"));
    }
}
