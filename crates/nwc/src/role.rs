//! What a matrix is in the model, told by its name.

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
        const EMBEDDINGS: [&str; 7] = [
            "embed_tokens",
            "wte",
            "wpe",
            "word_embeddings",
            "position_embeddings",
            "token_type_embeddings",
            "embed_in",
        ];
        const HEADS: [&str; 2] = ["lm_head", "embed_out"];
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let last = stem.rsplit('.').next().unwrap_or(stem);
        if EMBEDDINGS.contains(&last) {
            Self::Embedding
        } else if HEADS.contains(&last) || stem.ends_with("predictions.decoder") {
            Self::Head
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
        check("model.layers.0.mlp.gate_proj.weight", Role::Linear);
        check("model.layers.0.self_attn.q_proj.weight", Role::Linear);
    }
}
