//! A checkpoint's quantised weights as plain ones: which there are, and their bytes when they are asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use nwc_format::DType;
use serde_json::Value;

use super::{Details, Part, detect, open, opened_shape};
use crate::classify::Facts;
use crate::folder::MappedFile;
use crate::{Error, Result, TensorError};

/// Dtype of opened weights.
const DTYPE: DType = DType::BF16;

/// A stored tensor that an opened weight is made of.
#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub(crate) file: Arc<MappedFile>,
    pub(crate) range: Range<usize>,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

/// A plain weight that is made from quantised tensors whenever its bytes are read.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// Its name in a plain checkpoint.
    pub(crate) name: String,
    /// Its shape; the dtype is bf16.
    pub(crate) shape: Vec<usize>,
    method: super::Method,
    parts: BTreeMap<&'static str, StoredPart>,
    details: Details,
}

/// Opened weights in place of quantised tensors.
#[derive(Debug, Default)]
pub(crate) struct OpenPlan {
    /// By the name of the tensor that the weight stands for.
    pub(crate) opened: HashMap<String, Opened>,
    /// The other tensors of these weights, which go.
    pub(crate) gone: HashSet<String>,
}

impl Opened {
    pub(crate) fn dtype(&self) -> DType {
        DTYPE
    }

    /// The weight as bf16 bytes, in the order of its elements.
    ///
    /// # Errors
    /// [`TensorError::Record`] where the parts do not fit each other.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, TensorError> {
        let parts = self
            .parts
            .iter()
            .map(|(key, part)| (*key, part.view()))
            .collect();
        let (bytes, shape) = open(self.method, &parts, &self.details)?;
        match shape == self.shape {
            true => Ok(bytes),
            false => Err(super::wrong(
                "shape of an opened weight",
                format!("{shape:?}"),
                format!("{:?}", self.shape),
            )),
        }
    }

    /// Gives the memory of the parts back.
    pub(crate) fn forget(&self) {
        for part in self.parts.values() {
            part.file.forget(part.range.clone());
        }
    }
}

impl StoredPart {
    fn view(&self) -> Part<'_> {
        Part {
            dtype: self.dtype,
            shape: &self.shape,
            bytes: self.file.get(self.range.clone()).unwrap_or_default(),
        }
    }
}

/// Plans to open every quantised weight among the tensors `stored`, by name; `config` is the entry about quantising.
///
/// # Errors
/// [`Error::Argument`] where nothing is quantised, or with a method that cannot be opened: a checkpoint of both kinds
/// of weights would have no configuration. [`Error::Tensor`] where the tensors of a weight do not fit each other.
pub(crate) fn plan(
    stored: &BTreeMap<String, StoredPart>,
    config: Option<&Value>,
) -> Result<OpenPlan> {
    let refuse = |found: String| Error::Argument {
        argument: "--dequantize",
        found,
        allowed: "weights of FP8, MXFP4, GPTQ or AWQ".into(),
    };
    let facts = stored.iter().map(|(name, part)| Facts {
        name,
        dtype: part.dtype,
        shape: &part.shape,
    });
    let details = Details::from_config(config);
    let found = detect(facts);
    if found.groups.is_empty() {
        return Err(refuse(
            "given for a checkpoint that is not quantised".into(),
        ));
    }
    let mut plan = OpenPlan::default();
    for group in found.groups {
        if !group.method.can_be_opened() {
            let (name, method) = (&group.plain_name, group.method.name());
            return Err(refuse(format!("given, but {name} is of {method}")));
        }
        let shape_of = |name: &str| stored.get(name).map(|part| part.shape.clone());
        let parts: BTreeMap<_, _> = group
            .parts
            .iter()
            .filter_map(|(key, name)| Some((*key, stored.get(name)?.clone())))
            .collect();
        let main = ["weight", "qweight", "blocks"]
            .into_iter()
            .find(|key| parts.contains_key(key))
            .unwrap_or_default();
        let main_name = group.parts.get(main).cloned().unwrap_or_default();
        let Some(shape) = opened_shape(&group, shape_of, &details) else {
            let path = parts.get(main).map(|part| part.file.path());
            return Err(Error::tensor(
                path.unwrap_or("".as_ref()),
                &main_name,
                super::wrong(
                    "shape",
                    format!("{:?}", shape_of(&main_name).unwrap_or_default()),
                    format!("that of a weight of {}", group.method.name()),
                ),
            ));
        };
        plan.gone.extend(group.parts.into_values());
        let opened = Opened {
            name: group.plain_name,
            shape,
            method: group.method,
            parts,
            details,
        };
        plan.opened.insert(main_name, opened);
    }
    Ok(plan)
}
