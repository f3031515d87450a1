//! The names of tensors in a Hugging Face checkpoint, one table per architecture.

use crate::config::Architecture;
use crate::weights::WeightSource;

/// Names of the parts of one architecture. Those of a block are below `{prefix}{block}.{idx}.`.
#[derive(Debug)]
pub(crate) struct NameTable {
    /// Prefixes of the body's names in the order tried: of a model with a head, and of the bare body.
    prefixes: &'static [&'static str],
    pub(crate) embedding: &'static str,
    pub(crate) positions: Option<&'static str>,
    /// Embedding of the segment (BERT); row 0 is added.
    pub(crate) segments: Option<&'static str>,
    pub(crate) embedding_norm: Option<&'static str>,
    block: &'static str,
    /// q, k and v in one matrix, or three names.
    pub(crate) query_key_value: &'static [&'static str],
    pub(crate) query_norm: &'static str,
    pub(crate) key_norm: &'static str,
    pub(crate) attention_output: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    pub(crate) feed_forward_norm: &'static str,
    pub(crate) router: &'static str,
    /// The prefix of an expert's index.
    pub(crate) expert: &'static str,
    pub(crate) final_norm: Option<&'static str>,
    /// The output head's weight, without prefix.
    pub(crate) head: &'static str,
    /// Matrices are stored `[in, out]` (GPT-2's Conv1D).
    pub(crate) transposed: bool,
}

const LLAMA: NameTable = NameTable {
    prefixes: &["model.", ""],
    embedding: "embed_tokens.weight",
    positions: None,
    segments: None,
    embedding_norm: None,
    block: "layers",
    query_key_value: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attention_output: "self_attn.o_proj",
    attention_norm: "input_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    feed_forward_norm: "post_attention_layernorm",
    router: "",
    expert: "",
    final_norm: Some("norm"),
    head: "lm_head.weight",
    transposed: false,
};

const MIXTRAL: NameTable = NameTable {
    gate: "w1",
    up: "w3",
    down: "w2",
    router: "block_sparse_moe.gate",
    expert: "block_sparse_moe.experts",
    ..LLAMA
};

const GPT2: NameTable = NameTable {
    prefixes: &["transformer.", ""],
    embedding: "wte.weight",
    positions: Some("wpe.weight"),
    block: "h",
    query_key_value: &["attn.c_attn"],
    attention_output: "attn.c_proj",
    attention_norm: "ln_1",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    feed_forward_norm: "ln_2",
    final_norm: Some("ln_f"),
    transposed: true,
    ..LLAMA
};

const BERT: NameTable = NameTable {
    prefixes: &["bert.", ""],
    embedding: "embeddings.word_embeddings.weight",
    positions: Some("embeddings.position_embeddings.weight"),
    segments: Some("embeddings.token_type_embeddings.weight"),
    embedding_norm: Some("embeddings.LayerNorm"),
    block: "encoder.layer",
    query_key_value: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    feed_forward_norm: "output.LayerNorm",
    final_norm: None,
    head: "cls.predictions.decoder.weight",
    ..LLAMA
};

impl NameTable {
    pub(crate) fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::Llama
            | Architecture::Mistral
            | Architecture::Qwen2
            | Architecture::Qwen3 => &LLAMA,
            Architecture::Mixtral => &MIXTRAL,
            Architecture::Gpt2 => &GPT2,
            Architecture::Bert => &BERT,
        }
    }

    /// The prefix under which `source` has the embedding; the usual one if it has none, so that errors name it.
    pub(crate) fn prefix(&self, source: &dyn WeightSource) -> &'static str {
        let found = self
            .prefixes
            .iter()
            .find(|prefix| source.contains(&format!("{prefix}{}", self.embedding)));
        found.or(self.prefixes.first()).copied().unwrap_or_default()
    }

    /// The prefix of the names of block `block_idx`, without the last dot.
    pub(crate) fn block_prefix(&self, prefix: &str, block_idx: usize) -> String {
        format!("{prefix}{}.{block_idx}", self.block)
    }
}
