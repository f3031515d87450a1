//! What each step is worth, as sentences made of measured rows.

use super::compare::{Gain, Point, front, gain};
use super::measure::Row;
use super::rows::{Family, Plan};

/// Bits at equal KL below which two curves are called equal: what differs between two seeds of calibration.
const EQUAL_BITS: f64 = 0.01;

/// Two families that are compared.
struct Step {
    before: Family,
    after: Family,
    /// What `after` does differently, and so where a gain would come from.
    means: &'static str,
    /// What speaks for a loss where one is measured.
    against: &'static str,
}

/// The paper's ladder, each step over the one before it.
const LADDER: [Step; 7] = [
    Step {
        before: Family::LevelsOnly,
        after: Family::RowNormalisation,
        means: "every row is divided by its standard deviation instead of the matrix by one, so that the codec \
            meets weights of the one spread that it was trained on",
        against: "a common step for rows of unequal spread puts the error where plain mean squared error wants it, \
            and that can weigh more than the match to the codec's training",
    },
    Step {
        before: Family::RowNormalisation,
        after: Family::Ldlq128,
        means: "after every 128 columns their error is made up for in the columns still to be coded",
        against: "compensated weights have a wider spread than the ones that the codec knows, and a matrix \
            with few blocks has little left to compensate in",
    },
    Step {
        before: Family::Ldlq128,
        after: Family::Ldlq1,
        means: "the error is fed back after every column, so the correlation inside a block of 128 is used too",
        against: "most of the correlation of the inputs lies between blocks here, and single columns \
            compensate noise of the estimated Hessian as well",
    },
    Step {
        before: Family::Ldlq1,
        after: Family::Importance,
        means: "the column with the strongest input is coded first, so that its error has the most columns to be made \
            up for in",
        against: "the levels code the strongest columns finely already",
    },
    Step {
        before: Family::Importance,
        after: Family::Curvature,
        means: "errors are weighed by what they cost whole sequences, from gradients in the weights, and not by the \
            mean square of the inputs alone",
        against: "gradients of few sequences are a noisier guide than the second moments of as many tokens",
    },
    Step {
        before: Family::Curvature,
        after: Family::LatentStates,
        means: "a trellis through the latents of a column instead of rounding them one by one",
        against: "the tables are made anew from the model, and their bytes have to be won back",
    },
    Step {
        before: Family::LatentStates,
        after: Family::Recovery,
        means: "what is not coded yet, norms and row scales follow the original block's output, then row scales and \
            norms the model's predictions",
        against: "feedback has used up the same layer's freedom before, and a few sequences of calibration \
            are soon learnt by heart",
    },
];

/// What the learned codec and the trellis are held against.
const BESIDE: [Step; 9] = [
    Step {
        before: Family::EntropyScalarLdlq,
        after: Family::Level0Ldlq1,
        means: "the learned transform against a uniform step at the same feedback, neither with quality levels",
        against: "a transform of 16 near-Gaussian weights has no correlation to use, and its latents \
            cost about what a scalar quantiser's symbols do (0.30 against 0.255 bit over the limit)",
    },
    Step {
        before: Family::EntropyScalarLdlq,
        after: Family::Ldlq1,
        means: "the learned codec with the paper's levels: columns with large inputs are coded finer",
        against: "the codec's own loss against a scalar quantiser is larger than what four levels bring back",
    },
    Step {
        before: Family::Level0Ldlq1,
        after: Family::Ldlq1,
        means: "the paper's four levels against one for all columns, with the same feedback",
        against: "finer levels cost their bits in all rows, and feedback has already moved error out of the \
            columns that count",
    },
    Step {
        before: Family::EntropyScalarLdlq,
        after: Family::Trellis,
        means: "steps for every row and column from Hessian and Fisher, and a trellis instead of single weights",
        against: "step factors are side information, which small matrices pay dearly for",
    },
    Step {
        before: Family::EntropyScalar,
        after: Family::EntropyScalarLdlq,
        means: "feedback after every column",
        against: "the Hessian is a poor estimate of the inputs' correlation",
    },
    Step {
        before: Family::RoundToNearest,
        after: Family::Gptq,
        means: "the same grids with feedback after every column",
        against: "the Hessian is a poor estimate of the inputs' correlation",
    },
    Step {
        before: Family::Gptq,
        after: Family::Ldlq1,
        means: "entropy-coded latents against fixed-length codes, both with feedback after every column",
        against: "the codec's rate is above that of the fixed-length grid at this quality",
    },
    Step {
        before: Family::LlamaCpp,
        after: Family::Ldlq1,
        means: "entropy-coded latents and feedback against blocks of fixed-length codes, of whose types only the \
            ones count that no other beats",
        against: "a block format fits a scale to every 32 weights, and its types spend more bits on the matrices \
            that llama.cpp's authors found to need them",
    },
    Step {
        before: Family::LlamaCpp,
        after: Family::Trellis,
        means: "steps from statistics, feedback and entropy coding against blocks of fixed-length codes, of whose \
            types only the ones count that no other beats",
        against: "a block format fits a scale to every 32 weights, and its types spend more bits on the matrices \
            that llama.cpp's authors found to need them",
    },
];

/// A sentence for every step of the paper's ladder.
pub(super) fn of_the_ladder(rows: &[(Plan, Row)]) -> Vec<String> {
    LADDER.iter().map(|step| sentence(step, rows)).collect()
}

/// A sentence for each of the other comparisons.
pub(super) fn beside_it(rows: &[(Plan, Row)]) -> Vec<String> {
    BESIDE.iter().map(|step| sentence(step, rows)).collect()
}

fn sentence(step: &Step, rows: &[(Plan, Row)]) -> String {
    let (before, after) = (points(rows, step.before), points(rows, step.after));
    let head = format!(
        "\"{}\" over \"{}\"",
        step.after.label(),
        step.before.label()
    );
    let Some(gain) = gain(&front(&before), &front(&after)) else {
        let why = if before.is_empty() || after.is_empty() {
            "not measured"
        } else {
            "no KL that both reach was measured"
        };
        return format!("{head}: {why}.{}", same_lambda(step, rows));
    };
    let measured = measured(gain);
    let reason = if gain.mean > -EQUAL_BITS {
        format!("What it does: {}", step.means)
    } else {
        format!("A likely reason: {}", step.against)
    };
    let verdict = verdict(gain);
    format!(
        "{head} {verdict}: {measured}.{} {reason}.",
        same_lambda(step, rows)
    )
}

fn verdict(gain: Gain) -> &'static str {
    if gain.mean.abs() <= EQUAL_BITS {
        "makes no difference"
    } else if gain.smallest > 0.0 {
        "helps"
    } else if gain.largest < 0.0 {
        "does not help"
    } else if gain.mean > 0.0 {
        "helps on the whole, not everywhere"
    } else {
        "does not help on the whole"
    }
}

fn measured(gain: Gain) -> String {
    let way = if gain.mean >= 0.0 { "fewer" } else { "more" };
    format!(
        "{:.3} bit a weight {way} at equal KL (saved: {:.3} to {:.3}, at {} points)",
        gain.mean.abs(),
        gain.smallest,
        gain.largest,
        gain.n_points
    )
}

/// KL before and after at each common λ; nothing for families without.
fn same_lambda(step: &Step, rows: &[(Plan, Row)]) -> String {
    let mut parts = Vec::new();
    for (plan, before) in rows.iter().filter(|(plan, _)| plan.family == step.before) {
        let after = rows.iter().find(|(other, _)| {
            other.family == step.after && other.lambda.is_some() && other.lambda == plan.lambda
        });
        if let (Some(lambda), Some((_, after))) = (plan.lambda, after) {
            parts.push(format!(
                "λ {lambda}: {:.4} to {:.4} at {:.3} and {:.3} bits",
                before.evaluation.kl, after.evaluation.kl, before.bpw_payload, after.bpw_payload
            ));
        }
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!(" KL at {}.", parts.join("; "))
    }
}

/// The measured points of a family, by rising bits.
pub(super) fn points(rows: &[(Plan, Row)], family: Family) -> Vec<Point> {
    let mut points: Vec<Point> = rows
        .iter()
        .filter(|(plan, _)| plan.family == family)
        .map(|(_, row)| Point {
            bits: row.bpw_payload,
            kl: row.evaluation.kl,
        })
        .collect();
    points.sort_by(|a, b| a.bits.total_cmp(&b.bits));
    points
}

#[cfg(test)]
mod tests {
    use super::super::sections::sample_rows;
    use super::*;

    #[test]
    fn a_step_is_reported_as_measured() {
        let rows = sample_rows();
        let ladder = of_the_ladder(&rows);
        assert_eq!(ladder.len(), LADDER.len());
        // The sample saves a tenth of a bit with every family that comes later.
        assert!(
            ladder[0].contains("helps: 0.100 bit a weight fewer at equal KL")
                && ladder[0].contains("λ 30: ")
                && ladder[0].contains("What it does: every row"),
            "{}",
            ladder[0]
        );
        let reversed = Step {
            before: Family::Ldlq1,
            after: Family::LevelsOnly,
            means: "a",
            against: "b",
        };
        let text = sentence(&reversed, &rows);
        assert!(
            text.contains("does not help: 0.300 bit a weight more") && text.ends_with("reason: b."),
            "{text}"
        );
        let none: &[(Plan, Row)] = &[];
        assert!(of_the_ladder(none)[0].ends_with("not measured."));
    }
}
