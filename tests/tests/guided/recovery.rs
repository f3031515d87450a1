//! The hook that recovery tunes a model through.

use nwc::ndarray::{Array2, Axis};
use nwc::{Checkpoint, LinearCoder, NoProgress, Recovered};
use nwc_tests::gaussian;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::case::{COLS, Case, DOWN, EMBEDDING, ROWS, UP, codecs, guided};

#[test]
fn what_recovery_tunes_is_what_is_stored() {
    let case = Case::new(false);
    for (name, codec) in codecs() {
        let mut rng = ChaCha8Rng::seed_from_u64(21);
        let mut other =
            |rows, cols| Array2::from_shape_simple_fn((rows, cols), || 0.05 * gaussian(&mut rng));
        let (down, embedding) = (other(COLS, ROWS), other(160, COLS));
        let mut expected = Array2::zeros((0, 0));
        let mut recover = |linears: &LinearCoder<'_>| {
            let up = linears.code_original(UP)?.unwrap();
            let doubled = |(i, scale): (usize, &f32)| if i % 2 == 0 { 2.0 * scale } else { *scale };
            let scales: Vec<f32> = up.row_scales.iter().enumerate().map(doubled).collect();
            expected = up.decoded();
            for mut row in expected.axis_iter_mut(Axis(0)).step_by(2) {
                row *= 2.0;
            }
            let coded = [
                (UP.to_owned(), up.tuned(&scales)),
                (DOWN.to_owned(), linears.code(DOWN, &down)?.unwrap().coded),
            ];
            let values = [(EMBEDDING.to_owned(), embedding.iter().copied().collect())];
            Ok(Recovered {
                coded: coded.into(),
                values: values.into(),
            })
        };
        let (model, out) = (case.path("model"), case.path(name));
        let options = guided(codec, &case.path("stats"));
        nwc::compress_recovered(model, &out, &options, &mut recover, &NoProgress).unwrap();
        let up = case.restored_up(name);
        let off = (&up - &expected)
            .mapv(f32::abs)
            .fold(0.0_f32, |a, &b| a.max(b));
        assert!(off < 1e-5, "{name}: off by {off}");
        let restored = Checkpoint::open(&out).unwrap();
        for (tensor, weights) in [(DOWN, &down), (EMBEDDING, &embedding)] {
            let restored = restored.tensor(tensor).unwrap();
            let errors = restored.iter().zip(weights).map(|(r, w)| (r - w).powi(2));
            let nmse = errors.sum::<f32>() / weights.mapv(|w| w * w).sum();
            assert!(nmse < 0.3, "{name}, {tensor}: {nmse}");
        }
    }
}
