//! `generate`.

use nwc_lm::{CheckpointWeights, ModelOptions, Residency, continue_greedily};

use crate::args::GenerateArgs;
use crate::outcome::{Outcome, print};

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<Outcome> {
    let weights = CheckpointWeights::open(&args.model)?;
    let model = weights.model(ModelOptions {
        device: args.device.into(),
        // Every token needs every weight.
        residency: Residency::Whole,
    })?;
    let tokenizer = weights.tokenizer()?;
    let tokens = tokenizer.encode(&args.prompt, model.config().vocab_size)?;
    let added = continue_greedily(&model, &tokens, args.tokens)?;
    print(&(tokenizer.decode(&added)? + "\n"))?;
    Ok(Outcome::Done)
}
