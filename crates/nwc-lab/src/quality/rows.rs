//! What is measured: a row for every way of quantising, at every rate.

use nwc::{ColumnOrder, Steps};

use super::method::Method;
use crate::quantisers::Baseline;

/// Ways of quantising that a curve joins, in the order of tables and plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    LevelsOnly,
    RowNormalisation,
    Ldlq128,
    Ldlq1,
    Importance,
    Curvature,
    LatentStates,
    Recovery,
    Level0Ldlq1,
    DataFreeLevel0,
    DataFreeLevel1,
    ScalarRowScales,
    ScalarLayer,
    ScalarColumns,
    ScalarFull,
    TrellisTokens,
    Trellis,
    Trellis64,
    RoundToNearest,
    Gptq,
    EntropyScalar,
    EntropyScalarLdlq,
    KMeans,
    LlamaCpp,
}

impl Family {
    /// All of them, in order.
    pub(super) const ALL: [Self; 24] = [
        Self::LevelsOnly,
        Self::RowNormalisation,
        Self::Ldlq128,
        Self::Ldlq1,
        Self::Importance,
        Self::Curvature,
        Self::LatentStates,
        Self::Recovery,
        Self::Level0Ldlq1,
        Self::DataFreeLevel0,
        Self::DataFreeLevel1,
        Self::ScalarRowScales,
        Self::ScalarLayer,
        Self::ScalarColumns,
        Self::ScalarFull,
        Self::TrellisTokens,
        Self::Trellis,
        Self::Trellis64,
        Self::RoundToNearest,
        Self::Gptq,
        Self::EntropyScalar,
        Self::EntropyScalarLdlq,
        Self::KMeans,
        Self::LlamaCpp,
    ];

    /// The learned codec's own: the paper's ablation and what stands beside it.
    pub(super) fn is_learned(self) -> bool {
        self <= Self::DataFreeLevel1
    }

    /// The first part of a row's name.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::LevelsOnly => "levels-only",
            Self::RowNormalisation => "row-norm",
            Self::Ldlq128 => "ldlq-128",
            Self::Ldlq1 => "ldlq-1",
            Self::Importance => "importance",
            Self::Curvature => "curvature",
            Self::LatentStates => "latent-states-8",
            Self::Recovery => "recovery",
            Self::Level0Ldlq1 => "level-0-ldlq-1",
            Self::DataFreeLevel0 => "data-free-level-0",
            Self::DataFreeLevel1 => "data-free-level-1",
            Self::ScalarRowScales => "scalar-row-scales",
            Self::ScalarLayer => "scalar-layer",
            Self::ScalarColumns => "scalar-columns",
            Self::ScalarFull => "scalar-full",
            Self::TrellisTokens => "trellis-tokens",
            Self::Trellis => "trellis",
            Self::Trellis64 => "trellis-64",
            Self::RoundToNearest => "rtn",
            Self::Gptq => "gptq",
            Self::EntropyScalar => "ecsq",
            Self::EntropyScalarLdlq => "ecsq-ldlq",
            Self::KMeans => "kmeans",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// As tables and plots call it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::LevelsOnly => "quality levels only",
            Self::RowNormalisation => "+ row normalisation",
            Self::Ldlq128 => "+ LDLQ 128",
            Self::Ldlq1 => "+ LDLQ 1",
            Self::Importance => "+ strongest column first",
            Self::Curvature => "+ curvature of sequences",
            Self::LatentStates => "+ latents on a trellis of 8 states",
            Self::Recovery => "+ recovery",
            Self::Level0Ldlq1 => "LDLQ 1, all columns level 0",
            Self::DataFreeLevel0 => "data-free, level 0",
            Self::DataFreeLevel1 => "data-free, level 1",
            Self::ScalarRowScales => "scalar quantiser, steps by row",
            Self::ScalarLayer => "+ layer step",
            Self::ScalarColumns => "+ column step",
            Self::ScalarFull => "+ row step",
            Self::TrellisTokens => "+ trellis of 8 states",
            Self::Trellis => "trellis, 8 states, + curvature of sequences",
            Self::Trellis64 => "the same with 64 states",
            Self::RoundToNearest => "round to nearest, groups of 128",
            Self::Gptq => "GPTQ, groups of 128",
            Self::EntropyScalar => "ECSQ, row-normalised",
            Self::EntropyScalarLdlq => "ECSQ, row-normalised, LDLQ 1",
            Self::KMeans => "k-means, Fisher-weighted",
            Self::LlamaCpp => "llama.cpp",
        }
    }
}

/// One row before it is measured.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) family: Family,
    /// Where on the family's curve: `lambda30`, `3.04`.
    pub(super) rate: String,
    pub(super) lambda: Option<f64>,
    pub(super) how: How,
}

/// Names tell rows apart.
impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// How a row's model is made.
#[derive(Debug, Clone)]
pub(super) enum How {
    Compress(Box<Method>),
    /// `nwc-cli compress` with these flags, which runs the model; [`STATISTICS`] and [`CALIBRATION_TEXT`] stand for files.
    Recover(Vec<String>),
    Baseline(Baseline),
    /// This type of llama.cpp, by `cargo xtask peers`.
    LlamaCpp(&'static str),
}

/// Stands for the statistics file in a row's flags.
pub(super) const STATISTICS: &str = "STATISTICS";
/// Stands for the calibration text in a row's flags.
pub(super) const CALIBRATION_TEXT: &str = "CALIBRATION_TEXT";

/// The λ at which recovery runs where not everything is asked for: one rate near 2 and one near 3 bits.
const RECOVERY_LAMBDAS: [f64; 2] = [30.0, 100.0];
/// Bits of the linears' payload at which the trellis is measured.
const TRELLIS_BITS: [f64; 6] = [2.08, 2.59, 3.05, 3.54, 4.03, 5.03];
/// Bits at which each of the trellis family's ideas is measured; both are among [`TRELLIS_BITS`].
pub(super) const IDEA_BITS: [f64; 2] = [3.05, 4.03];
/// Bits of the linears' payload at which its scalar quantiser is measured.
const SCALAR_BITS: [f64; 4] = [2.57, 3.04, 3.54, 4.03];
/// Bits of a code of the block formats and of k-means.
const CODE_BITS: [u32; 3] = [3, 4, 5];

impl Plan {
    /// What the row, its file and its flag are called.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.family.id(), self.rate)
    }

    /// Whether `--only` asks for it: by its name, its family's or its type's; asking for nothing asks for all.
    pub(super) fn is_wanted(&self, only: &[String]) -> bool {
        let mut names = vec![self.name(), self.family.id().into()];
        if let How::LlamaCpp(name) = self.how {
            names.push(name.into());
        }
        only.is_empty() || only.iter().any(|wanted| names.contains(wanted))
    }

    fn learned(family: Family, lambda: f64, method: Method) -> Self {
        Self {
            family,
            rate: format!("lambda{lambda}"),
            lambda: Some(lambda),
            how: How::Compress(method.into()),
        }
    }

    fn trellis(family: Family, bits: f64, method: Method) -> Self {
        Self {
            family,
            rate: bits.to_string(),
            lambda: None,
            how: How::Compress(method.into()),
        }
    }

    fn baseline(family: Family, rate: String, baseline: Baseline) -> Self {
        Self {
            family,
            rate,
            lambda: None,
            how: How::Baseline(baseline),
        }
    }
}

/// llama.cpp's types that are measured, all without importance matrix.
const LLAMA_CPP_TYPES: [&str; 6] = ["IQ4_XS", "Q4_0", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"];

/// The rows that `cargo xtask peers` measures.
pub(super) fn peers() -> Vec<Plan> {
    let plan = |name: &'static str| Plan {
        family: Family::LlamaCpp,
        rate: name.into(),
        lambda: None,
        how: How::LlamaCpp(name),
    };
    LLAMA_CPP_TYPES.map(plan).to_vec()
}

/// Every row of `cargo xtask quality`, the cheapest way to an overview first: all families at one rate would not
/// be a curve.
pub(super) fn all(lambdas: &[f64], full: bool) -> Vec<Plan> {
    let mut rows = Vec::new();
    for &lambda in lambdas {
        let learned = || Method::learned(lambda);
        let tokens = || learned().per_token();
        let one_by_one = Some((1, ColumnOrder::Natural));
        for (family, method) in [
            (Family::LevelsOnly, tokens().by_tensor().feedback(None)),
            (Family::RowNormalisation, tokens().feedback(None)),
            (Family::Ldlq128, Method::paper(lambda)),
            (Family::Ldlq1, tokens().feedback(one_by_one)),
            (Family::Importance, tokens()),
            (Family::Curvature, learned()),
            (Family::LatentStates, learned().latent_states(8)),
            (Family::Level0Ldlq1, tokens().feedback(one_by_one).level(0)),
            (Family::DataFreeLevel0, learned().data_free().level(0)),
            (Family::DataFreeLevel1, learned().data_free().level(1)),
        ] {
            rows.push(Plan::learned(family, lambda, method));
        }
    }
    for bits in TRELLIS_BITS {
        let method = Method::trellis(bits, 8);
        rows.push(Plan::trellis(Family::Trellis, bits, method));
    }
    for bits in IDEA_BITS {
        let scalar = |steps| Method::trellis(bits, 1).per_token().steps(steps);
        for (family, method) in [
            (Family::ScalarRowScales, scalar(Steps::RowScales)),
            (Family::ScalarLayer, scalar(Steps::Layer)),
            (Family::ScalarColumns, scalar(Steps::Columns)),
            (Family::ScalarFull, scalar(Steps::Full)),
            (Family::TrellisTokens, Method::trellis(bits, 8).per_token()),
        ] {
            rows.push(Plan::trellis(family, bits, method));
        }
    }
    for bits in IDEA_BITS {
        let method = Method::trellis(bits, 64);
        rows.push(Plan::trellis(Family::Trellis64, bits, method));
    }
    for bits in CODE_BITS {
        for (family, baseline) in [
            (Family::RoundToNearest, Baseline::RoundToNearest { bits }),
            (Family::Gptq, Baseline::Gptq { bits }),
            (Family::KMeans, Baseline::KMeans { bits }),
        ] {
            rows.push(Plan::baseline(family, bits.to_string(), baseline));
        }
    }
    for bits in SCALAR_BITS {
        for (family, feedback) in [
            (Family::EntropyScalar, false),
            (Family::EntropyScalarLdlq, true),
        ] {
            let baseline = Baseline::EntropyScalar { bits, feedback };
            rows.push(Plan::baseline(family, bits.to_string(), baseline));
        }
    }
    // Last, because it is slow.
    for &lambda in lambdas {
        if full || RECOVERY_LAMBDAS.contains(&lambda) {
            let flags = format!(
                "--lambda {lambda} --states 8 --stats {STATISTICS} --recover both --text {CALIBRATION_TEXT}"
            );
            rows.push(Plan {
                family: Family::Recovery,
                rate: format!("lambda{lambda}"),
                lambda: Some(lambda),
                how: How::Recover(flags.split(' ').map(String::from).collect()),
            });
        }
    }
    rows
}

/// What `cargo xtask reproduce` measures: every method at about 3 and about 4 bits, best last.
pub(super) fn overview() -> Vec<Plan> {
    let mut rows = Vec::new();
    for (code_bits, lambda, bits) in [(3, 100.0, 3.05), (4, 300.0, 4.03)] {
        let (rtn, gptq) = (
            Baseline::RoundToNearest { bits: code_bits },
            Baseline::Gptq { bits: code_bits },
        );
        let code_bits = code_bits.to_string();
        rows.extend([
            Plan::baseline(Family::RoundToNearest, code_bits.clone(), rtn),
            Plan::baseline(Family::Gptq, code_bits, gptq),
            Plan::learned(Family::Ldlq128, lambda, Method::paper(lambda)),
            Plan::learned(
                Family::LatentStates,
                lambda,
                Method::learned(lambda).latent_states(8),
            ),
            Plan::trellis(Family::Trellis, bits, Method::trellis(bits, 8)),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_its_own_name() {
        let rows = all(&[30.0, 100.0, 300.0], false);
        let peers = peers();
        let names: BTreeSet<_> = rows.iter().map(Plan::name).collect();
        assert_eq!(names.len(), rows.len());
        assert_eq!(rows.len(), 10 * 3 + 6 + 10 + 2 + 9 + 8 + 2);
        assert_eq!(all(&[30.0, 100.0, 300.0], true).len(), rows.len() + 1);
        let all: Vec<_> = rows.iter().chain(&peers).collect();
        assert_eq!(
            all.iter()
                .map(|row| row.name())
                .collect::<BTreeSet<_>>()
                .len(),
            all.len()
        );
        for family in Family::ALL {
            assert!(all.iter().any(|row| row.family == family), "{family:?}");
        }
        assert!(names.contains("ldlq-1-lambda30") && names.contains("ecsq-ldlq-3.04"));
    }

    #[test]
    fn the_overview_is_part_of_the_whole() {
        let all: BTreeSet<_> = all(&[100.0, 300.0], false).iter().map(Plan::name).collect();
        let overview: BTreeSet<_> = overview().iter().map(Plan::name).collect();
        assert!(
            overview.len() == 10 && overview.is_subset(&all),
            "{overview:?}"
        );
    }

    #[test]
    fn only_names_rows_and_families() {
        let wanted = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(ToString::to_string).collect();
            let rows = all(&[30.0, 100.0], false).into_iter();
            rows.filter(|row| row.is_wanted(&only)).count()
        };
        assert_eq!(wanted(&["ecsq"]), 4);
        assert_eq!(wanted(&["ldlq-1-lambda30", "rtn-3"]), 2);
        assert_eq!(wanted(&["ldlq"]), 0);
        let peers = peers();
        for only in ["Q4_K_M", "llama.cpp-Q4_K_M"] {
            let mut wanted = peers.iter().filter(|row| row.is_wanted(&[only.into()]));
            assert_eq!(wanted.next().map(|row| row.rate.as_str()), Some("Q4_K_M"));
            assert_eq!(wanted.next(), None);
        }
    }
}
