//! Where the model runs.

use crate::error::{Error, Result};

/// The processor that holds the weights and does the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The host.
    #[default]
    Cpu,
    /// A CUDA device by its index.
    Cuda(usize),
}

impl Device {
    /// The first CUDA device where LibTorch sees one, else the host.
    #[must_use]
    pub fn best() -> Self {
        if tch::Cuda::is_available() {
            Self::Cuda(0)
        } else {
            Self::Cpu
        }
    }

    /// LibTorch's name for it.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where it is not there.
    pub fn to_tch(self) -> Result<tch::Device> {
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Cuda(idx) => {
                let n_available = tch::Cuda::device_count();
                if (idx as i64) < n_available {
                    Ok(tch::Device::Cuda(idx))
                } else {
                    Err(Error::NoDevice {
                        requested: format!("cuda:{idx}"),
                        n_available,
                    })
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_named() {
        assert_eq!(Device::Cpu.to_tch().unwrap(), tch::Device::Cpu);
        assert!(matches!(
            Device::Cuda(4096).to_tch(),
            Err(Error::NoDevice { .. })
        ));
    }
}
