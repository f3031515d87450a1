//! Typed access to the fields of `config.json`, with errors that name the field.

use serde_json::{Map, Value};

use super::{Activation, MAX_BLOCKS, MAX_EXTENT};
use crate::error::{Error, Result};

/// The fields of one JSON object.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
}

fn refused(field: &str, found: impl ToString, allowed: impl Into<String>) -> Error {
    Error::ConfigField {
        field: field.to_owned(),
        found: found.to_string(),
        allowed: allowed.into(),
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object }
    }

    /// The value, unless it is absent or null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// A nested object.
    pub(super) fn object(&self, field: &str) -> Option<Fields<'a>> {
        self.get(field).and_then(Value::as_object).map(Fields::new)
    }

    /// The first class name of `architectures`.
    pub(super) fn first_architecture(&self) -> Option<String> {
        self.strings("architectures")?.into_iter().next()
    }

    pub(super) fn strings(&self, field: &str) -> Option<Vec<String>> {
        let list = self.get(field)?.as_array()?;
        list.iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect()
    }

    /// A size: a positive integer.
    pub(super) fn extent(&self, field: &str) -> Result<usize> {
        self.optional_extent(field)?
            .ok_or_else(|| refused(field, "absent", "a whole number from 1"))
    }

    pub(super) fn optional_extent(&self, field: &str) -> Result<Option<usize>> {
        match self.optional_count(field)? {
            Some(0) => Err(refused(field, 0, "a whole number from 1")),
            other => Ok(other),
        }
    }

    /// The number of blocks: an integer from 1 to [`MAX_BLOCKS`].
    pub(super) fn block_count(&self, field: &str) -> Result<usize> {
        match self.extent(field)? {
            count if count <= MAX_BLOCKS => Ok(count),
            count => Err(refused(field, count, format!("at most {MAX_BLOCKS}"))),
        }
    }

    /// A non-negative integer.
    pub(super) fn optional_count(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_u64().filter(|&count| count <= MAX_EXTENT) {
            Some(count) => Ok(Some(count as usize)),
            None => Err(refused(
                field,
                value,
                format!("a whole number up to {MAX_EXTENT}"),
            )),
        }
    }

    pub(super) fn number(&self, field: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value
            .as_f64()
            .ok_or_else(|| refused(field, value, "a number"))
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| refused(field, value, "true or false"))
    }

    /// Refuses every value of a flag but `only`, which is also the default.
    pub(super) fn require_flag(&self, field: &str, only: bool) -> Result<()> {
        match self.flag(field, only)? {
            found if found == only => Ok(()),
            found => Err(refused(field, found, only.to_string())),
        }
    }

    /// Refuses every text but `only`, which is also the default.
    pub(super) fn require_text(&self, field: &str, only: &str) -> Result<()> {
        match self.get(field) {
            Some(value) if value.as_str() != Some(only) => Err(refused(field, value, only)),
            _ => Ok(()),
        }
    }

    /// A token identifier, or the first of a list of them.
    pub(super) fn token(&self, field: &str) -> Option<u32> {
        let value = self.get(field)?;
        let first = value
            .as_array()
            .and_then(|list| list.first())
            .unwrap_or(value);
        first.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    /// `dividend / divisor`; refuses the field if there is a remainder.
    pub(super) fn exact_quotient(
        &self,
        field: &str,
        dividend: usize,
        divisor: usize,
    ) -> Result<usize> {
        if dividend.is_multiple_of(divisor) {
            Ok(dividend / divisor)
        } else {
            Err(refused(
                field,
                divisor,
                format!("a divisor of the width {dividend}"),
            ))
        }
    }

    pub(super) fn activation(&self, field: &str, default: Activation) -> Result<Activation> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        match value.as_str() {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::GeluErf),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            _ => Err(refused(
                field,
                value,
                "silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu",
            )),
        }
    }
}
