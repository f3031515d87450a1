//! Tensors through compression and back, before and after side by side.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc::{Checkpoint, CodecChoice, CompressOptions, DecodeOptions, NoProgress, RateTarget};

use crate::{TestTensor, write_checkpoint};

/// One codec of each family.
pub fn codecs() -> [(&'static str, CodecChoice); 2] {
    let trellis = CodecChoice::Trellis {
        target: RateTarget::BpwPayload(4.0),
        n_states: 8,
    };
    [
        ("neural", CodecChoice::Pretrained { lambda: 300.0 }),
        ("trellis", trellis),
    ]
}

/// A tensor before and after, row by row.
#[derive(Debug)]
pub struct Restored {
    /// What messages call it.
    pub label: String,
    /// Length of its last dimension.
    pub cols: usize,
    /// The original values.
    pub before: Vec<f32>,
    /// The restored ones.
    pub after: Vec<f32>,
    /// What is said of it.
    pub inspection: nwc::TensorSummary,
}

impl Restored {
    /// Its rows, before and after.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.before
            .chunks(self.cols)
            .zip(self.after.chunks(self.cols))
    }

    /// Squared error over squared norm.
    pub fn nmse(&self, rows: std::ops::Range<usize>) -> f64 {
        let rows = self.rows().skip(rows.start).take(rows.len());
        let (error, energy) = rows
            .map(|(w, d)| error_and_energy(w, d))
            .fold((0.0, 0.0), |(error, energy), (e, n)| {
                (error + e, energy + n)
            });
        error / energy
    }

    /// Every value is finite and no row worse than all zeros.
    #[track_caller]
    pub fn assert_sound(&self) {
        for (row, (w, d)) in self.rows().enumerate() {
            let label = format!("{}, row {row}", self.label);
            assert!(d.iter().all(|v| v.is_finite()), "{label}: not finite");
            let (error, energy) = error_and_energy(w, d);
            assert!(
                error <= energy * (1.0 + 1e-9),
                "{label}: {error:e} of {energy:e}"
            );
        }
    }

    /// Every zero is zero still.
    #[track_caller]
    pub fn assert_zeros_kept(&self) {
        let lost = self.before.iter().zip(&self.after);
        let lost = lost.filter(|(w, d)| **w == 0.0 && **d != 0.0).count();
        assert_eq!(lost, 0, "{}: zeros that are no longer zero", self.label);
    }
}

/// Squared error and squared norm.
pub fn error_and_energy(w: &[f32], d: &[f32]) -> (f64, f64) {
    let pairs = w.iter().zip(d).map(|(&w, &d)| (f64::from(w), f64::from(d)));
    pairs.fold((0.0, 0.0), |(error, energy), (w, d)| {
        (error + (w - d).powi(2), energy + w * w)
    })
}

/// Compresses and restores `tensors` with both families and hands every one over that was coded.
pub fn round_trip(tensors: &[TestTensor], mut check: impl FnMut(&Restored)) {
    for (family, codec) in codecs() {
        round_trip_with(family, &CompressOptions::new(codec), tensors, &mut check);
    }
}

/// As [`round_trip`], with `options` of a codec of `family`.
pub fn round_trip_with(
    family: &str,
    options: &CompressOptions,
    tensors: &[TestTensor],
    check: &mut impl FnMut(&Restored),
) {
    let dir = tempfile::tempdir().unwrap();
    let [original, packed, restored] =
        ["original", "packed", "restored"].map(|n| dir.path().join(n));
    write_checkpoint(&original, &[tensors.to_vec()]);
    let mut options = options.clone();
    options.verify = true;
    let inspection = nwc::compress(&original, &packed, &options, &NoProgress).unwrap();
    let decode = DecodeOptions::default();
    let verified = nwc::verify_against(&packed, &original, &decode, &NoProgress).unwrap();
    assert!(verified.failures.is_empty(), "{:?}", verified.failures);
    nwc::decompress(&packed, &restored, &decode, &NoProgress).unwrap();
    let [before, after] = [&original, &restored].map(|dir| Checkpoint::open(dir).unwrap());
    let lazy = Checkpoint::open(&packed).unwrap();
    for tensor in tensors {
        let name = &tensor.name;
        let mut summaries = inspection.tensors.iter();
        let inspection = summaries.find(|t| t.name == *name).unwrap().clone();
        assert_eq!(inspection.coding, family, "{name} is coded");
        let after = after.tensor(name).unwrap();
        assert_eq!(lazy.tensor(name).unwrap(), after);
        check(&Restored {
            label: format!("{family}, {name} in {:?}", tensor.dtype),
            cols: *tensor.shape.last().unwrap(),
            before: before.tensor(name).unwrap(),
            after,
            inspection,
        });
    }
}
