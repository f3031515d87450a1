//! Text written by the model itself, for calibration without a text.

use tch::Kind;

use crate::calibrate::{sample_tokens, uniform};
use crate::error::{Error, Result};
use crate::evaluate::require_next_token;
use crate::model::{KvCache, LanguageModel, NoTap};
use crate::tensors::without_grad;

/// Keys and values kept at once.
const CACHE_BYTES: usize = 2 << 30;

/// Samples `n_windows` windows of `window` tokens at temperature 1, each from the start token (or, if the model names
/// none, from a token drawn uniformly from the vocabulary).
///
/// The windows depend only on the model and `seed`. `progress` receives the number of tokens done of each window, and
/// their total. Use [`crate::Residency::Whole`]: with [`crate::Residency::PerBlock`], every token reads every weight again.
///
/// # Errors
/// [`Error::NotCausal`], [`Error::WindowLength`], and errors of running the model.
pub fn generate(
    model: &LanguageModel<'_>,
    n_windows: usize,
    window: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u32>>> {
    require_next_token(model, "generating text")?;
    let config = model.config();
    if window == 0 || window > config.max_positions {
        return Err(Error::WindowLength {
            window,
            min: 1,
            max: config.max_positions,
        });
    }
    let cached_per_position = config.n_blocks * config.n_kv_heads * config.head_dim * 2 * 4;
    // The cache's buffers have up to twice the room that is used.
    let window_bytes = window.saturating_mul(cached_per_position).saturating_mul(2);
    let group = (CACHE_BYTES / window_bytes.max(1)).max(1);
    let mut all = Vec::new();
    for first in (0..n_windows).step_by(group) {
        let indices = first..n_windows.min(first + group);
        all.extend(generate_group(model, indices, window, seed, progress)?);
    }
    Ok(all)
}

fn generate_group(
    model: &LanguageModel<'_>,
    indices: std::ops::Range<usize>,
    window: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u32>>> {
    let vocab_size = model.config().vocab_size;
    let start_token = model
        .config()
        .start_token_id
        .filter(|&id| (id as usize) < vocab_size);
    // One number for each position of each window, drawn before anything runs.
    let numbers: Vec<Vec<f32>> = indices
        .map(|window_idx| uniform(seed, window_idx as u64, window))
        .collect();
    let mut windows: Vec<Vec<u32>> = numbers
        .iter()
        .map(|numbers| {
            let drawn = numbers
                .first()
                .map_or(0, |&number| (number * vocab_size as f32) as u32);
            vec![start_token.unwrap_or(drawn.min(vocab_size as u32 - 1))]
        })
        .collect();
    let mut caches: Vec<KvCache> = (0..model.n_blocks()).map(|_| KvCache::default()).collect();
    for position in 1..window {
        let sequence = model.sequence(position - 1, 1)?;
        let last: Vec<&[u32]> = windows
            .iter()
            .map(|window| &window[position - 1..])
            .collect();
        let mut hidden = model.embed(&last, &sequence)?;
        let drawn = without_grad(|| {
            for (block_idx, cache) in caches.iter_mut().enumerate() {
                hidden =
                    model
                        .block(block_idx)?
                        .forward(&hidden, &sequence, &mut NoTap, Some(cache))?;
            }
            let logits = model
                .head()?
                .forward(&hidden.f_squeeze_dim(1)?, &mut NoTap)?;
            let numbers: Vec<f32> = numbers
                .iter()
                .filter_map(|numbers| numbers.get(position).copied())
                .collect();
            let drawn = sample_tokens(&logits.f_softmax(-1, Kind::Float)?, &numbers)?;
            Ok(Vec::<i64>::try_from(
                drawn.f_flatten(0, -1)?.f_to_device(tch::Device::Cpu)?,
            )?)
        })?;
        for (window, token) in windows.iter_mut().zip(drawn) {
            window.push(token as u32);
        }
        progress(position + 1, window);
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelOptions;
    use crate::testing::fixture;

    #[test]
    fn repeats_and_differs_by_window_and_seed() {
        let model = fixture("llama");
        let open = LanguageModel::open(
            model.config.clone(),
            &model.weights,
            ModelOptions::default(),
        )
        .unwrap();
        let run = |n, seed| generate(&open, n, 16, seed, &mut |_, _| ()).unwrap();
        let windows = run(3, 1);
        assert!(
            windows
                .iter()
                .all(|window| window.len() == 16 && window.iter().all(|&id| id < 64))
        );
        assert_eq!(windows, run(3, 1));
        assert_ne!(windows[0][1..], windows[1][1..]);
        assert_ne!(windows, run(3, 2));
    }

    #[test]
    fn follows_the_models_own_probabilities() {
        // The mean log-likelihood of what a model says is minus its entropy: far above that of evenly drawn tokens.
        let model = fixture("gpt2");
        let open = LanguageModel::open(
            model.config.clone(),
            &model.weights,
            ModelOptions::default(),
        )
        .unwrap();
        let tokens: Vec<u32> = generate(&open, 40, 24, 5, &mut |_, _| ()).unwrap().concat();
        let even: Vec<u32> = uniform(8, 0, 40 * 24)
            .iter()
            .map(|u| (u * 64.0) as u32)
            .collect();
        let options = crate::EvaluationOptions {
            window: 24,
            max_tokens: None,
        };
        let perplexity = |tokens: &[u32]| {
            crate::evaluate(&open, None, tokens, options, &mut |_, _| ())
                .unwrap()
                .perplexity
        };
        assert!(perplexity(&tokens) < 0.8 * perplexity(&even));
    }

    #[test]
    fn refuses_encoders_and_long_windows() {
        let model = fixture("bert_mlm");
        let open =
            LanguageModel::open(model.config, &model.weights, ModelOptions::default()).unwrap();
        let refused = generate(&open, 1, 4, 1, &mut |_, _| ());
        assert!(matches!(refused, Err(Error::NotCausal { .. })));
        let model = fixture("llama");
        let open =
            LanguageModel::open(model.config, &model.weights, ModelOptions::default()).unwrap();
        let refused = generate(&open, 1, 65, 1, &mut |_, _| ());
        assert!(matches!(
            refused,
            Err(Error::WindowLength { window: 65, .. })
        ));
    }
}
