//! Errors of the facade as Python's: a class each kind, with the message of the whole chain.

use std::error::Error as _;

use pyo3::prelude::*;

/// The exception for `error`: the class `nwc.errors.{kind}Error`, with `path` and `tensor` where it has them.
pub(crate) fn raise(py: Python<'_>, error: &nwc::Error) -> PyErr {
    let (path, tensor) = place(error);
    let made = py
        .import("nwc.errors")
        .and_then(|m| m.getattr("make"))
        .and_then(|make| make.call1((error.kind(), chain(error), path, tensor)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(err) => err,
    }
}

/// The error with all its sources on one line.
pub(crate) fn chain(error: &nwc::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        let said = below.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = below.source();
    }
    text
}

/// File and tensor that the error is about.
fn place(error: &nwc::Error) -> (Option<String>, Option<String>) {
    use nwc::Error::*;
    let path = |p: &std::path::Path| Some(p.display().to_string());
    match error {
        Io { path: p, .. } | OutputExists { path: p } | NotAFile { path: p } => (path(p), None),
        NotACheckpoint { path: p, .. }
        | NotCompressed { path: p }
        | AlreadyCompressed { path: p } => (path(p), None),
        MissingShard { shard, tensor, .. } | IndexMismatch { shard, tensor, .. } => {
            (path(shard), Some(tensor.clone()))
        }
        Header { path: p, .. } | Json { path: p, .. } | Container { path: p, .. } => {
            (path(p), None)
        }
        NotReadBack { path: p, .. } | OtherModel { path: p, .. } => (path(p), None),
        FileDigest { path: p, .. } | Statistics { path: p, .. } => (path(p), None),
        NonFinite {
            path: p, tensor, ..
        }
        | NoSuchTensor { path: p, tensor }
        | Tensor {
            path: p, tensor, ..
        } => (path(p), Some(tensor.clone())),
        _ => (None, None),
    }
}
