//! What a matrix is in the model, told by its name.

/// Tables of tokens and positions, by the last part of the name.
const EMBEDDINGS: [&str; 19] = [
    "embed_tokens",
    "wte",
    "wpe",
    "word_embeddings",
    "word_embedding",
    "position_embeddings",
    "token_type_embeddings",
    "token_embedding",
    "token_embeddings",
    "tok_embeddings",
    "token_embd",
    "tokens_embed",
    "embed_tokens_per_layer",
    "embed_in",
    "embeddings",
    "embedding",
    "embed",
    "emb",
    "shared",
];
/// Output heads, by the last part of the name.
const HEADS: [&str; 5] = [
    "lm_head",
    "embed_out",
    "unembed",
    "output_embeddings",
    "codec_head",
];
/// Heads whose names mean something else inside a block.
const TOP_LEVEL_HEADS: [&str; 5] = ["output", "head", "proj_out", "classifier", "score"];

/// What a model's own modules may stand behind.
const TOP_LEVELS: [&str; 4] = ["model", "transformer", "language_model", "rwkv"];

/// What a coded matrix is in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// A linear layer inside a block.
    Linear,
    /// A table of token or position embeddings; where it is tied, the output head, too.
    Embedding,
    /// An output head of its own.
    Head,
}

impl Role {
    /// The role of the matrix `name`.
    pub(crate) fn of(name: &str) -> Self {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let parts: Vec<&str> = stem.split(['.', '/']).collect();
        let last = parts.last().copied().unwrap_or_default();
        let is_top_level = match parts.as_slice() {
            [_] => true,
            [first, _] => TOP_LEVELS.contains(first),
            _ => false,
        };
        if HEADS.contains(&last)
            || stem.ends_with("predictions.decoder")
            || (is_top_level && TOP_LEVEL_HEADS.contains(&last))
        {
            Self::Head
        } else if EMBEDDINGS.contains(&last) {
            Self::Embedding
        } else {
            Self::Linear
        }
    }

    /// Whether the rate of the linear weights counts it.
    pub(crate) fn is_linear(self) -> bool {
        self == Self::Linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, role: Role) {
        assert_eq!(Role::of(name), role, "{name}");
    }

    #[test]
    fn roles_by_name() {
        check("model.embed_tokens.weight", Role::Embedding);
        check("transformer.wte.weight", Role::Embedding);
        check("bert.embeddings.word_embeddings.weight", Role::Embedding);
        check("lm_head.weight", Role::Head);
        check("gpt_neox.embed_out.weight", Role::Head);
        check("cls.predictions.decoder.weight", Role::Head);
        check("output.weight", Role::Head);
        check("layers.0.attention.output.weight", Role::Linear);
        check("shared.weight", Role::Embedding);
        check("model.layers.0.mlp.gate_proj.weight", Role::Linear);
        check("model.layers.0.self_attn.q_proj.weight", Role::Linear);
    }
}
