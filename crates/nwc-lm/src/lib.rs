//! Runs language models with LibTorch: taps layer inputs, Hessians, Fisher, perplexity, KL, recovery fine-tuning.
#![forbid(unsafe_code)]
