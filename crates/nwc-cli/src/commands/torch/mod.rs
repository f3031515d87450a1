//! The commands that need LibTorch.

pub(crate) mod calibrate;
pub(crate) mod eval;
pub(crate) mod recover;
pub(crate) mod source;
pub(crate) mod synthesis;
pub(crate) mod train;
