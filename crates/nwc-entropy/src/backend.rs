//! Which instructions decode and encode: chosen at run time, the same bytes and symbols from all.

/// Instructions for the steps of [`LANES`](crate::LANES) symbols; the rest is always portable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Backend {
    /// What every machine has.
    Portable,
    /// 64-bit Arm, little-endian, with NEON.
    Neon,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW and VL.
    Avx512,
}

impl Backend {
    /// All of them, the best of a machine last.
    pub const ALL: &[Self] = &[Self::Portable, Self::Neon, Self::Avx2, Self::Avx512];

    /// The best that this machine has.
    pub fn best() -> Self {
        Self::Avx512.or_available()
    }

    /// This one, or the best below it that this machine has.
    pub(crate) fn or_available(self) -> Self {
        let below = Self::ALL.iter().rev().filter(|&&backend| backend <= self);
        let available = below.copied().find(|backend| backend.is_available());
        available.unwrap_or(Self::Portable)
    }

    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_falls_back() {
        assert_eq!(Backend::Portable.or_available(), Backend::Portable);
        for &backend in Backend::ALL {
            let found = backend.or_available();
            assert!(found <= backend && found <= Backend::best());
            assert_eq!(found.or_available(), found);
        }
    }

    /// No kernel of another family of processors is ever chosen, and that of 64-bit Arm always.
    #[test]
    fn the_best_is_of_this_family() {
        #[cfg(target_arch = "aarch64")]
        assert_eq!(Backend::best(), Backend::Neon);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(Backend::Neon.or_available(), Backend::Portable);
    }
}
