//! Says what begins and about how long all of it will still take.

use std::time::Instant;

/// Seconds of work at the expected speed that are assumed to lie behind at the start, so that one quick or slow step
/// at the beginning does not turn the estimate.
const ASSUMED_S: f64 = 60.0;

/// Steps of known expected times, which are those of two free cores.
#[derive(Debug)]
pub(crate) struct Steps {
    start: Instant,
    n_steps: usize,
    n_begun: usize,
    expected_s: f64,
    /// Expected seconds of the steps before the one that is running.
    passed_s: f64,
    running_s: f64,
}

impl Steps {
    /// Steps that are expected to take so many seconds each.
    pub(crate) fn new(expected_s: impl IntoIterator<Item = f64>) -> Self {
        let expected_s: Vec<f64> = expected_s.into_iter().collect();
        Self {
            start: Instant::now(),
            n_steps: expected_s.len(),
            n_begun: 0,
            expected_s: expected_s.iter().sum(),
            passed_s: 0.0,
            running_s: 0.0,
        }
    }

    /// Begins the next step, which is expected to take `expected_s`, and says so on stderr.
    pub(crate) fn begin(&mut self, what: &str, expected_s: f64) {
        self.passed_s += self.running_s;
        self.running_s = expected_s;
        self.n_begun += 1;
        let left_s = self.left_s(self.start.elapsed().as_secs_f64());
        eprintln!(
            "\n==> [{}/{}] {what} ({})",
            self.n_begun,
            self.n_steps,
            shown(left_s)
        );
    }

    /// Leaves out a step that was expected to take `expected_s`: nothing has to be done.
    pub(crate) fn skip(&mut self, expected_s: f64) {
        self.n_begun += 1;
        self.expected_s -= expected_s;
    }

    /// Seconds from the beginning of the running step to the end, when `elapsed_s` have passed.
    fn left_s(&self, elapsed_s: f64) -> f64 {
        let slowness = (elapsed_s + ASSUMED_S) / (self.passed_s + ASSUMED_S);
        slowness * (self.expected_s - self.passed_s).max(0.0)
    }
}

fn shown(left_s: f64) -> String {
    match (left_s / 60.0).round() {
        minutes if minutes >= 1.0 => format!("about {minutes} min left"),
        _ => "less than a minute left".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_speed_so_far() {
        let mut steps = Steps::new([60.0, 120.0, 60.0]);
        steps.begin("a", 60.0);
        assert_eq!(steps.left_s(0.0), 240.0);
        steps.begin("b", 120.0);
        assert_eq!(steps.left_s(60.0), 180.0);
        // Three minutes for the first: the machine is half as fast.
        assert_eq!(steps.left_s(180.0), 360.0);
        steps.skip(60.0);
        assert_eq!(steps.left_s(180.0), 240.0);
        assert_eq!(shown(360.0), "about 6 min left");
        assert_eq!(shown(20.0), "less than a minute left");
    }
}
