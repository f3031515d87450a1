//! How a model goes on with a text.

use crate::error::Result;
use crate::evaluate::require_next_token;
use crate::model::{KvCache, LanguageModel, NoTap};
use crate::tensors::without_grad;

/// The `n_tokens` tokens that follow `tokens`, each the most likely one after all before it.
///
/// # Errors
/// [`crate::Error::NotCausal`], [`crate::Error::WindowLength`] where there is no token to go on from or the model has
/// fewer positions, and what running the model meets.
pub fn continue_greedily(
    model: &LanguageModel<'_>,
    tokens: &[u32],
    n_tokens: usize,
) -> Result<Vec<u32>> {
    require_next_token(model, "continuing a text")?;
    let mut caches: Vec<KvCache> = (0..model.n_blocks()).map(|_| KvCache::default()).collect();
    let mut all = tokens.to_vec();
    let mut start = 0;
    while all.len() < tokens.len() + n_tokens {
        let sequence = model.sequence(start, all.len() - start)?;
        let mut hidden = model.embed(&[&all[start..]], &sequence)?;
        start = all.len();
        let next = without_grad(|| {
            for (block_idx, cache) in caches.iter_mut().enumerate() {
                let block = model.block(block_idx)?;
                hidden = block.forward(&hidden, &sequence, &mut NoTap, Some(cache))?;
            }
            let last = hidden.f_select(1, -1)?;
            let logits = model.head()?.forward(&last, &mut NoTap)?;
            Ok(logits.f_argmax(-1, false)?.f_int64_value(&[0])?)
        })?;
        all.push(next as u32);
    }
    Ok(all.split_off(tokens.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::model::ModelOptions;
    use crate::tensors::to_matrix;
    use crate::testing::fixture;

    #[test]
    fn each_token_is_the_most_likely_of_the_whole_window() {
        for name in ["llama", "gpt2"] {
            let model = fixture(name);
            let options = ModelOptions::default();
            let open = LanguageModel::open(model.config.clone(), &model.weights, options).unwrap();
            let mut all = model.tokens[..5].to_vec();
            let found = continue_greedily(&open, &all, 6).unwrap();
            for token in &found {
                let logits = to_matrix(&open.logits(&all).unwrap()).unwrap();
                let last = logits.row(logits.nrows() - 1);
                let top = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
                assert_eq!(top, Some(*token as usize), "{name}");
                all.push(*token);
            }
            assert_eq!(found.len(), 6);
        }
    }

    #[test]
    fn refuses_nothing_to_go_on_from_and_encoders() {
        let model = fixture("llama");
        let options = ModelOptions::default();
        let open = LanguageModel::open(model.config, &model.weights, options).unwrap();
        let refused = continue_greedily(&open, &[], 1);
        assert!(matches!(refused, Err(Error::WindowLength { .. })));
        let refused = continue_greedily(&open, &[1], 1000);
        assert!(matches!(refused, Err(Error::WindowLength { .. })));
        let model = fixture("bert_mlm");
        let open = LanguageModel::open(model.config, &model.weights, options).unwrap();
        let refused = continue_greedily(&open, &[1], 1);
        assert!(matches!(refused, Err(Error::NotCausal { .. })));
    }
}
