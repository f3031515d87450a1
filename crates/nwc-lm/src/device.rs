//! The device that a model runs on.

use crate::error::{Error, Result};

/// The device that holds the weights and does the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The host's processor.
    #[default]
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
}

impl Device {
    /// The first CUDA device if LibTorch finds one, otherwise the host's processor.
    #[must_use]
    pub fn best() -> Self {
        if tch::Cuda::is_available() {
            Self::Cuda(0)
        } else {
            Self::Cpu
        }
    }

    /// The device as LibTorch names it.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if it does not exist.
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
