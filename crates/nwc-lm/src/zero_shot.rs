//! Multiple choice by log-likelihood, scored as in the LM evaluation harness.

use std::collections::BTreeMap;

use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::batches::final_hidden_states;
use crate::error::{Error, Result};
use crate::evaluate::require_next_token;
use crate::model::{Head, LanguageModel, NoTap};
use crate::tensors::{token_tensor, without_grad};
use crate::text::TextTokenizer;

/// One question. The answer is the choice that is the most likely continuation of the context.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChoiceItem {
    /// The text before the choice.
    pub context: String,
    /// The continuations, with their leading space.
    pub choices: Vec<String>,
    /// The index of the right choice, from 0.
    pub gold: usize,
}

/// A model's score.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroShot {
    /// Number of items scored.
    pub n_items: usize,
    /// Share of items whose right choice has the highest log-likelihood.
    pub accuracy: f64,
    /// The same with log-likelihoods divided by the choice's length in characters.
    pub normalized_accuracy: f64,
    /// Standard errors of both, in the same order.
    pub standard_errors: (f64, f64),
}

/// Reads one item per line; empty lines are skipped.
///
/// # Errors
/// [`Error::ChoiceItem`] names a line that is no item, has no choices, or has a gold index past them.
pub fn parse_choice_items(jsonl: &str) -> Result<Vec<ChoiceItem>> {
    let mut items = Vec::new();
    for (line_idx, line) in jsonl
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let fail = |message: String| Error::ChoiceItem {
            line: line_idx + 1,
            message,
        };
        let item: ChoiceItem =
            serde_json::from_str(line).map_err(|source| fail(source.to_string()))?;
        if item.gold >= item.choices.len() {
            let n_choices = item.choices.len();
            return Err(fail(format!(
                "gold is {}, there are {n_choices} choices",
                item.gold
            )));
        }
        items.push(item);
    }
    Ok(items)
}

/// One choice in tokens.
struct Request {
    tokens: Vec<u32>,
    /// Where the continuation starts in `tokens`.
    scored_from: usize,
    item_idx: usize,
    choice_idx: usize,
}

/// Hidden states kept at once.
const HIDDEN_BYTES: usize = 1 << 30;

/// Scores every choice of every item.
///
/// Context and choice are tokenised together; the number of tokens of the context alone tells where the choice starts. A
/// context that exceeds the model's positions loses its beginning. An empty context is the model's start token.
///
/// # Errors
/// [`Error::ChoiceItem`] if a choice has no tokens or there are no items; errors of running the model.
pub fn zero_shot(
    model: &LanguageModel<'_>,
    tokenizer: &TextTokenizer,
    items: &[ChoiceItem],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ZeroShot> {
    require_next_token(model, "multiple choice")?;
    if items.is_empty() {
        return Err(Error::ChoiceItem {
            line: 1,
            message: "no items".to_owned(),
        });
    }
    let mut requests = requests(model, tokenizer, items)?;
    // Neighbours of equal length run together.
    requests.sort_by_key(|request| (request.tokens.len(), request.item_idx, request.choice_idx));
    let longest = requests.last().map_or(1, |request| request.tokens.len());
    let group = (HIDDEN_BYTES / (4 * longest * model.config().hidden_size)).max(1);
    let mut scores: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for group in requests.chunks(group) {
        let windows: Vec<&[u32]> = group
            .iter()
            .map(|request| request.tokens.as_slice())
            .collect();
        let states = final_hidden_states(model, &windows)?;
        let head = model.head()?;
        for (request, state) in group.iter().zip(&states) {
            let score = without_grad(|| score(&head, state, request))?;
            scores.insert((request.item_idx, request.choice_idx), score);
            progress(scores.len(), requests.len());
        }
    }
    Ok(tally(items, &scores))
}

fn requests(
    model: &LanguageModel<'_>,
    tokenizer: &TextTokenizer,
    items: &[ChoiceItem],
) -> Result<Vec<Request>> {
    let config = model.config();
    let mut requests = Vec::new();
    for (item_idx, item) in items.iter().enumerate() {
        // Spaces at the end belong to the choice: " Paris" is one token, "Paris" after a space another.
        let context = item.context.trim_end();
        let moved = &item.context[context.len()..];
        let n_context = tokenizer.encode(context, config.vocab_size)?.len();
        for (choice_idx, choice) in item.choices.iter().enumerate() {
            let whole = format!("{context}{moved}{choice}");
            let mut tokens = tokenizer.encode(&whole, config.vocab_size)?;
            let mut scored_from = n_context;
            if scored_from == 0 {
                tokens.insert(0, config.start_token_id.unwrap_or(0));
                scored_from = 1;
            }
            let surplus = tokens.len().saturating_sub(config.max_positions);
            if tokens.len() <= scored_from || surplus >= scored_from {
                return Err(Error::ChoiceItem {
                    line: item_idx + 1,
                    message: format!(
                        "choice {choice_idx} has {} tokens, allowed: 1 to {}",
                        tokens.len().saturating_sub(scored_from),
                        config.max_positions - 1
                    ),
                });
            }
            tokens.drain(..surplus);
            scored_from -= surplus;
            requests.push(Request {
                tokens,
                scored_from,
                item_idx,
                choice_idx,
            });
        }
    }
    Ok(requests)
}

/// The log-likelihood of a request's continuation.
fn score(head: &Head, state: &Tensor, request: &Request) -> Result<f64> {
    let n_scored = (request.tokens.len() - request.scored_from) as i64;
    let before = state.f_narrow(0, request.scored_from as i64 - 1, n_scored)?;
    let log_p = head
        .forward(&before, &mut NoTap)?
        .f_log_softmax(-1, Kind::Float)?;
    let labels = token_tensor(&[&request.tokens[request.scored_from..]], state.device())?;
    let labels = labels.f_view([-1, 1])?;
    Ok(log_p
        .f_gather(-1, &labels, false)?
        .f_sum(Kind::Double)?
        .f_double_value(&[])?)
}

fn tally(items: &[ChoiceItem], scores: &BTreeMap<(usize, usize), f64>) -> ZeroShot {
    let (mut n_right, mut n_right_normalized) = (0.0, 0.0);
    for (item_idx, item) in items.iter().enumerate() {
        let best = |value: &dyn Fn(usize, f64) -> f64| {
            let values = item.choices.iter().enumerate().map(|(choice_idx, _)| {
                let score = scores.get(&(item_idx, choice_idx)).copied();
                value(choice_idx, score.unwrap_or(f64::NEG_INFINITY))
            });
            // The first of equals, as NumPy's argmax.
            let start = (0, f64::NEG_INFINITY);
            values
                .enumerate()
                .fold(
                    start,
                    |best, next| if next.1 > best.1 { next } else { best },
                )
                .0
        };
        let length = |choice_idx: usize| {
            item.choices
                .get(choice_idx)
                .map_or(1, |choice| choice.trim_start().chars().count().max(1))
        };
        n_right += f64::from(u8::from(best(&|_, score| score) == item.gold));
        let normalized = best(&|choice_idx, score| score / length(choice_idx) as f64);
        n_right_normalized += f64::from(u8::from(normalized == item.gold));
    }
    let count = items.len() as f64;
    let error = |share: f64| (share * (1.0 - share) / (count - 1.0).max(1.0)).sqrt();
    let (accuracy, normalized_accuracy) = (n_right / count, n_right_normalized / count);
    ZeroShot {
        n_items: items.len(),
        accuracy,
        normalized_accuracy,
        standard_errors: (error(accuracy), error(normalized_accuracy)),
    }
}

#[cfg(test)]
mod tests;
