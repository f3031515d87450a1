//! What one curve of KL over bits gains over another: bits at equal KL.

/// A measured point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Bits a weight of the linears.
    pub(super) bits: f64,
    /// Nats a token, above 0.
    pub(super) kl: f64,
}

/// The points of a curve without those that another one beats in bits and KL.
pub(super) fn front(points: &[Point]) -> Vec<Point> {
    let beats = |a: &Point, b: &Point| a.bits <= b.bits && a.kl <= b.kl && a != b;
    let kept = points
        .iter()
        .filter(|point| !points.iter().any(|other| beats(other, point)));
    kept.copied().collect()
}

/// Bits that are saved at equal KL; below 0 where they are lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gain {
    pub(super) mean: f64,
    pub(super) smallest: f64,
    pub(super) largest: f64,
    /// Points at which the curves were compared.
    pub(super) n_points: usize,
}

/// What `after` saves over `before`, at every measured KL that both curves reach.
///
/// Between two points, bits go linearly with the logarithm of KL: it falls about as 2^(-2 bits).
/// `None` where the curves have no KL in common.
pub(super) fn gain(before: &[Point], after: &[Point]) -> Option<Gain> {
    let levels = before.iter().chain(after).map(|point| point.kl);
    let saved: Vec<f64> = levels
        .filter_map(|kl| Some(bits_at(before, kl)? - bits_at(after, kl)?))
        .collect();
    if saved.is_empty() {
        return None;
    }
    Some(Gain {
        mean: saved.iter().sum::<f64>() / saved.len() as f64,
        smallest: saved.iter().copied().fold(f64::INFINITY, f64::min),
        largest: saved.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        n_points: saved.len(),
    })
}

/// The bits at which a curve reaches `kl`, interpolated; `None` outside what was measured.
fn bits_at(curve: &[Point], kl: f64) -> Option<f64> {
    let mut curve: Vec<Point> = curve.iter().copied().filter(|p| p.kl > 0.0).collect();
    curve.sort_by(|a, b| b.kl.total_cmp(&a.kl));
    if let Some(point) = curve.iter().find(|point| point.kl == kl) {
        return Some(point.bits);
    }
    let (above, below) = curve
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .find(|(above, below)| above.kl > kl && kl > below.kl)?;
    let share = (above.kl / kl).ln() / (above.kl / below.kl).ln();
    Some(above.bits + share * (below.bits - above.bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(bits: &[f64], loss: f64) -> Vec<Point> {
        let point = |&bits: &f64| Point {
            bits,
            kl: (-2.0 * (bits - loss)).exp2(),
        };
        bits.iter().map(point).collect()
    }

    #[test]
    fn a_shifted_curve_gains_its_shift() {
        let before = curve(&[2.0, 3.0, 4.5], 0.3);
        let after = curve(&[2.2, 2.9, 4.1], 0.1);
        let gain = gain(&before, &after).unwrap();
        // Of the six levels of KL, both curves reach four.
        assert_eq!(gain.n_points, 4);
        for saved in [gain.mean, gain.smallest, gain.largest] {
            assert!((saved - 0.2).abs() < 1e-12, "{saved}");
        }
    }

    #[test]
    fn curves_without_a_common_kl_are_not_compared() {
        assert_eq!(gain(&curve(&[2.0, 3.0], 0.0), &curve(&[4.0], 0.0)), None);
        assert_eq!(gain(&[], &curve(&[2.0], 0.0)), None);
        let one = gain(&curve(&[2.0, 4.0], 0.0), &curve(&[3.0], -0.5)).unwrap();
        assert!(
            (one.mean + -0.5).abs() < 1e-12 && one.n_points == 1,
            "{one:?}"
        );
    }

    #[test]
    fn beaten_points_are_left_out() {
        let at = |bits, kl| Point { bits, kl };
        let points = [
            at(4.47, 0.195),
            at(4.5, 0.3),
            at(4.63, 0.198),
            at(5.5, 0.06),
        ];
        assert_eq!(front(&points), [at(4.47, 0.195), at(5.5, 0.06)]);
        // Points that are equal do not beat each other.
        assert_eq!(front(&[points[0]; 2]).len(), 2);
    }
}
