//! What of a rate that was asked for the whole falls to each of several folders.

use crate::folder::Folder;
use crate::options::{CodecChoice, CompressOptions, RateTarget};

/// Payload rates that a share of a size in bytes is held to, in bits per weight.
const MIN_BITS: f64 = 0.5;
const MAX_BITS: f64 = 8.0;

/// The folders of one compression and the options of the whole.
#[derive(Debug)]
pub(super) struct Shares<'a> {
    options: &'a CompressOptions,
    folders: Vec<Share>,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    n_elems: usize,
    has_weights: bool,
    is_opened: bool,
}

impl<'a> Shares<'a> {
    pub(super) fn new(options: &'a CompressOptions, folders: &[Folder]) -> Self {
        let share = |folder: &Folder| Share {
            n_elems: folder.n_elems(),
            has_weights: folder.source.is_some(),
            is_opened: folder.is_opened,
        };
        Self {
            options,
            folders: folders.iter().map(share).collect(),
        }
    }

    /// Indices of the folders in the order of coding: where bytes are counted, the largest takes what the others left.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.folders.len()).collect();
        if self.is_counted() {
            order.sort_by_key(|&idx| self.folders[idx].n_elems);
        }
        order
    }

    /// The options of folder `idx`, coded in that [`order`](Self::order), once `n_spent` bytes are.
    pub(super) fn options(&self, idx: usize, n_spent: u64) -> CompressOptions {
        let mut options = self.options.clone();
        options.dequantize = self.folders[idx].is_opened;
        if idx != 0 {
            options.statistics = None;
        }
        if self.folders.iter().filter(|f| f.has_weights).count() > 1
            && let CodecChoice::Trellis { target, n_states } = options.codec
        {
            options.codec = match self.target(target, idx, n_spent) {
                Some(target) => CodecChoice::Trellis { target, n_states },
                None => CodecChoice::Lossless,
            };
        }
        options
    }

    /// The rate of folder `idx`; `None` for coding without loss.
    ///
    /// Small checkpoints cannot pay for their tables at a rate of the whole output: it is one of payload for all but the
    /// root's. A predicted divergence is the root's, to which nothing that the others lose may be added.
    fn target(&self, target: RateTarget, idx: usize, n_spent: u64) -> Option<RateTarget> {
        Some(match target {
            RateTarget::BpwTotal(bits) if idx != 0 => RateTarget::BpwPayload(bits),
            RateTarget::TotalBytes(bytes) if self.order().last() == Some(&idx) => {
                RateTarget::TotalBytes(bytes.saturating_sub(n_spent))
            }
            RateTarget::TotalBytes(bytes) => {
                let n_elems: usize = self.folders.iter().map(|f| f.n_elems).sum();
                let bits = bytes as f64 * 8.0 / n_elems.max(1) as f64;
                RateTarget::BpwPayload(bits.clamp(MIN_BITS, MAX_BITS))
            }
            RateTarget::MaxKl(_) if idx != 0 => return None,
            target => target,
        })
    }

    fn is_counted(&self) -> bool {
        matches!(
            self.options.codec,
            CodecChoice::Trellis {
                target: RateTarget::TotalBytes(_),
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(target: RateTarget, n_elems: &[usize]) -> Vec<(usize, CodecChoice)> {
        let codec = CodecChoice::Trellis {
            target,
            n_states: 8,
        };
        let mut options = CompressOptions::new(codec);
        options.statistics = Some("s".into());
        let share = |&n_elems: &usize| Share {
            n_elems,
            has_weights: n_elems > 0,
            is_opened: false,
        };
        let shares = Shares {
            options: &options,
            folders: n_elems.iter().map(share).collect(),
        };
        let order = shares.order().into_iter();
        let of = |idx| {
            let options = shares.options(idx, 100);
            assert_eq!(options.statistics.is_some(), idx == 0);
            (idx, options.codec)
        };
        order.map(of).collect()
    }

    fn trellis(target: RateTarget) -> CodecChoice {
        CodecChoice::Trellis {
            target,
            n_states: 8,
        }
    }

    #[test]
    fn one_checkpoint_takes_all() {
        for target in [RateTarget::BpwTotal(3.0), RateTarget::TotalBytes(1000)] {
            assert_eq!(targets(target, &[50]), [(0, trellis(target))]);
            // Whatever lists it.
            assert_eq!(targets(target, &[0, 50])[1], (1, trellis(target)));
        }
    }

    #[test]
    fn a_rate_of_the_whole_is_one_of_payload_below() {
        let total = RateTarget::BpwTotal(3.0);
        let expected = [total, RateTarget::BpwPayload(3.0)].map(trellis);
        let found = targets(total, &[50, 20]);
        assert_eq!(found, [0, 1].into_iter().zip(expected).collect::<Vec<_>>());
        let kl = RateTarget::MaxKl(0.1);
        let expected = [trellis(kl), CodecChoice::Lossless];
        let found = targets(kl, &[50, 20]);
        assert_eq!(found, [0, 1].into_iter().zip(expected).collect::<Vec<_>>());
    }

    #[test]
    fn the_largest_takes_the_bytes_that_are_left() {
        let found = targets(RateTarget::TotalBytes(1000), &[0, 3000, 1000]);
        let expected = [
            (0, trellis(RateTarget::BpwPayload(2.0))),
            (2, trellis(RateTarget::BpwPayload(2.0))),
            (1, trellis(RateTarget::TotalBytes(900))),
        ];
        assert_eq!(found, expected);
    }
}
