//! What is there before anything is coded: what becomes of each tensor, and what is known of it.

mod guide;
mod linears;
mod plan;
mod values;

pub(crate) use guide::{Guidance, Guide, Keep};
pub use linears::for_each_linear;
pub use plan::fingerprint;
pub(crate) use plan::fingerprint_of;
pub(crate) use plan::{Plan, Planned, Scope, Treatment};
pub(crate) use values::Values;
