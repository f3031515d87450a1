//! The figures that speed is held against, and which of them this run reached.

use serde::Serialize;

use super::Bench;
use super::kernels::EntropyRow;
use super::whole::Run;

/// One figure asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) wanted: f64,
    pub(super) found: f64,
    /// The figure is an upper bound.
    pub(super) is_at_most: bool,
}

impl Goal {
    pub(super) fn is_reached(&self) -> bool {
        match self.is_at_most {
            true => self.found <= self.wanted,
            false => self.found >= self.wanted,
        }
    }
}

/// Every goal whose figures were measured; a machine without vectors has fewer.
pub(super) fn judge(bench: &Bench) -> Vec<Goal> {
    let entropy = |what: &str| {
        let row: Option<&EntropyRow> = bench.kernels.entropy.iter().find(|row| row.what == what);
        row.map(|row| row.symbols_per_s)
    };
    let fastest = |task: &str| {
        let rates = ["AVX2", "AVX-512"].map(|by| entropy(&format!("{task}, {by}")));
        rates.into_iter().flatten().reduce(f64::max)
    };
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let share = |width: usize| {
        let row = bench
            .kernels
            .synthesis
            .iter()
            .find(|row| row.width == width)?;
        Some(row.share_of_products())
    };
    let rate = |what: &str, task: &str, n_threads: usize| {
        let run = |run: &&Run| (run.what, run.task, run.n_threads) == (what, task, n_threads);
        bench.runs.iter().find(run).map(Run::weights_per_s)
    };
    let scaling = |what: &str| ratio(rate(what, "decode", 2), rate(what, "decode", 1));
    let million = |x: Option<f64>| x.map(|x| x / 1e6);
    let overhead = bench.single.iter().map(|s| s.overhead_s() * 1e3);
    let least = [
        (
            "rANS decode, portable",
            "million/s",
            150.0,
            million(entropy("decode, portable")),
        ),
        (
            "rANS decode, AVX2 or AVX-512",
            "million/s",
            700.0,
            million(fastest("decode")),
        ),
        (
            "rANS decode over constriction's",
            "times",
            5.0,
            ratio(fastest("decode"), entropy("constriction's ANS, decode")),
        ),
        (
            "rANS encode over decode",
            "times",
            0.5,
            ratio(fastest("encode"), fastest("decode")),
        ),
        (
            "synthesis over its products, width 64",
            "times",
            0.6,
            share(64),
        ),
        (
            "synthesis over its products, width 512",
            "times",
            0.6,
            share(512),
        ),
        (
            "decode, trellis, 2 threads",
            "million/s",
            100.0,
            million(rate(super::TRELLIS, "decode", 2)),
        ),
        (
            "decode, neural, 2 threads",
            "million/s",
            60.0,
            million(rate(super::NEURAL, "decode", 2)),
        ),
        (
            "decode, trellis, 2 threads over 1",
            "times",
            1.8,
            scaling(super::TRELLIS),
        ),
        (
            "decode, neural, 2 threads over 1",
            "times",
            1.8,
            scaling(super::NEURAL),
        ),
        (
            "encode with statistics, 2 threads",
            "million/s",
            3.0,
            million(rate(super::TRELLIS_STATISTICS, "encode", 2)),
        ),
    ];
    let least = least.into_iter().filter_map(|(what, unit, wanted, found)| {
        Some(Goal {
            what,
            unit,
            wanted,
            found: found?,
            is_at_most: false,
        })
    });
    let most = overhead.reduce(f64::max).map(|found| Goal {
        what: "one tensor, beyond its own decode",
        unit: "ms",
        wanted: 20.0,
        found,
        is_at_most: true,
    });
    least.chain(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_go_both_ways() {
        let goal = |found, is_at_most| Goal {
            what: "",
            unit: "",
            wanted: 2.0,
            found,
            is_at_most,
        };
        assert!(goal(3.0, false).is_reached() && !goal(1.0, false).is_reached());
        assert!(goal(1.0, true).is_reached() && !goal(3.0, true).is_reached());
    }
}
