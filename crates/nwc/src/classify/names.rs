//! What a tensor is, told by its name.

use super::known::{KEPT_LAST, KEPT_PARTS, KEPT_WHOLE, LINEAR_ENDS, LINEARS, ROUTER};
use crate::role::Role;

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// A matrix of that role.
    Is(Role),
    /// Not to be coded, and why.
    Keep(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// What the name of a tensor of `rows` rows and `cols` columns says.
pub(crate) fn told_by(name: &str, rows: usize, cols: usize) -> Told {
    let stem = [".weight", ".kernel", ".weight_v", ".weight_packed"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let parts: Vec<&str> = stem.split(['.', '/']).collect();
    let last = parts.last().copied().unwrap_or_default();
    for (known, reason) in KEPT_PARTS {
        if known.iter().any(|part| name.contains(part)) {
            return Told::Keep(reason);
        }
    }
    for (known, reason) in KEPT_WHOLE {
        if parts.iter().any(|part| known.contains(part)) {
            return Told::Keep(reason);
        }
    }
    for (known, reason) in KEPT_LAST {
        if known.contains(&last) {
            return Told::Keep(reason);
        }
    }
    if is_router(&parts, rows, cols) {
        return Told::Keep(ROUTER);
    }
    if is_rwkv_parameter(&parts) {
        return Told::Keep("a parameter of a recurrence, whose errors add up over time");
    }
    if last.contains("norm") || last.starts_with("ln_") || last == "ln" {
        return Told::Keep("a norm");
    }
    if last.ends_with("bias") || last.ends_with("biases") {
        return Told::Keep("a bias");
    }
    let role = Role::of(name);
    if !role.is_linear() {
        return Told::Is(role);
    }
    let end = last.trim_end_matches(|c: char| c.is_ascii_digit());
    if LINEARS.contains(&last)
        || LINEAR_ENDS.iter().any(|known| end.ends_with(known))
        || last.starts_with("conv")
    {
        return Told::Is(Role::Linear);
    }
    // Numbered modules, as in `mlp.0.weight` and `to_out.0.weight`, and `to_q` of diffusion models.
    let is_numbered = !last.is_empty() && end.is_empty() && parts.len() > 1;
    if stem != name && (is_numbered || last.starts_with("to_")) {
        return Told::Is(Role::Linear);
    }
    Told::Unknown
}

fn is_router(parts: &[&str], rows: usize, cols: usize) -> bool {
    /// A router has a row for each expert.
    const MAX_EXPERTS: usize = 1024;
    let last = parts.last().copied().unwrap_or_default();
    let is_named = parts.iter().any(|part| part.contains("router"))
        || [
            "shared_expert_gate",
            "ffn_gate_inp",
            "gate_inp",
            "w_gate",
            "w_noise",
            "gating",
            "coefficient",
        ]
        .contains(&last)
        || parts
            .iter()
            .any(|part| part.starts_with("e_score_correction"));
    // `gate` alone is a router in every mixture of experts, and in a few dense models one half of a gated unit, which
    // has more rows than columns.
    let gate_at = parts
        .iter()
        .rposition(|part| *part == "gate" || *part == "gate_network");
    let is_gate =
        gate_at.is_some_and(|at| at + 2 >= parts.len()) && (rows <= cols || rows <= MAX_EXPERTS);
    is_named || is_gate
}

/// RWKV 5 to 7 name their low-rank decays and mixes by a letter and a digit below `att` or `attention`.
fn is_rwkv_parameter(parts: &[&str]) -> bool {
    let [.., block, last] = parts else {
        return false;
    };
    let is_block = matches!(
        *block,
        "att" | "ffn" | "attention" | "feed_forward" | "attn"
    );
    let is_short = matches!(
        *last,
        "w0" | "a0"
            | "a1"
            | "a2"
            | "v0"
            | "v1"
            | "v2"
            | "g1"
            | "g2"
            | "k_k"
            | "k_a"
            | "r_k"
            | "x_r"
            | "x_w"
            | "x_k"
            | "x_v"
            | "x_a"
            | "x_g"
    );
    // `w1` and `w2` are also the linears of a gated unit, but never in an attention block.
    is_block && (is_short || (matches!(*last, "w1" | "w2") && block.starts_with("att")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Told) {
        assert_eq!(told_by(name, 64, 256), expected, "{name}");
    }

    #[track_caller]
    fn kept(names: &[&str], part_of_reason: &str) {
        for name in names {
            match told_by(name, 64, 256) {
                Told::Keep(reason) => assert!(reason.contains(part_of_reason), "{name}: {reason}"),
                told => panic!("{name} is {told:?}"),
            }
        }
    }

    #[track_caller]
    fn are(names: &[&str], role: Role) {
        for name in names {
            check(name, Told::Is(role));
        }
    }

    #[test]
    fn routers_under_all_their_names() {
        kept(
            &[
                "model.layers.0.mlp.gate.weight",
                "model.layers.0.block_sparse_moe.gate.weight",
                "model.layers.0.block_sparse_moe.router.layer.weight",
                "model.layers.0.mlp.gate.wg.weight",
                "model.layers.0.mlp.shared_expert_gate.weight",
                "layers.0.ffn.gate.weight",
                "backbone.layers.1.mixer.gate.weight",
                "encoder.block.1.layer.1.mlp.router.classifier.weight",
                "model.layers.0.router.proj.weight",
                "blk.0.ffn_gate_inp.weight",
                "model.layers.0.mlp.gate.e_score_correction_bias",
            ],
            "router",
        );
        are(
            &[
                "model.layers.0.mlp.gate_proj.weight",
                "model.layers.0.mlp.experts.0.gate_proj.weight",
                "model.layers.0.mlp.experts.gate_up_proj",
            ],
            Role::Linear,
        );
        // One half of a gated unit in a dense model.
        assert_eq!(told_by("h.0.mlp.gate.weight", 8192, 2048), Told::Unknown);
    }

    #[test]
    fn recurrences_positions_adapters_and_scales() {
        kept(
            &[
                "backbone.layers.0.mixer.A_log",
                "backbone.layers.0.mixer.dt_proj.weight",
                "model.layers.0.linear_attn.in_proj_ba.weight",
                "rwkv.blocks.0.attention.time_mix_key",
                "blocks.0.att.w1",
                "blocks.0.att.r_k",
            ],
            "recurrence",
        );
        kept(
            &[
                "model.layers.0.linear_attn.conv1d.weight",
                "stages.0.dwconv.weight",
            ],
            "convolution",
        );
        kept(
            &[
                "transformer.wpe.weight",
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "swin.relative_position_bias_table",
                "bert.embeddings.position_embeddings.weight",
                "model.encoder.embed_positions.weight",
                "vit.pos_embed",
            ],
            "positions",
        );
        kept(
            &["base.q_proj.lora_A.weight", "x.lora_B.default.weight"],
            "adapter",
        );
        kept(
            &[
                "up_proj.weight_scale_inv",
                "x.scales",
                "up_proj.weight_scale",
                "down.qzeros",
            ],
            "scale",
        );
        kept(&["model.layers.0.mlp.experts.gate_up_proj_bias"], "bias");
        kept(
            &["model.layers.0.self_attn.k_norm.weight", "h.0.ln_1.weight"],
            "norm",
        );
    }

    #[test]
    fn roles() {
        are(
            &[
                "model.embed_tokens.weight",
                "transformer.wte.weight",
                "bert.embeddings.word_embeddings.weight",
                "shared.weight",
                "text_model.embeddings.token_embedding.weight",
            ],
            Role::Embedding,
        );
        are(
            &[
                "lm_head.weight",
                "output.weight",
                "embed_out.weight",
                "cls.predictions.decoder.weight",
                "head.weight",
                "proj_out.weight",
            ],
            Role::Head,
        );
        are(
            &[
                "model.layers.0.self_attn.q_proj.weight",
                "bert.encoder.layer.0.attention.output.dense.weight",
                "encoder.block.0.layer.0.SelfAttention.q.weight",
                "layers.0.attention.wq.weight",
                "layers.0.feed_forward.w1.weight",
                "h.0.attn.c_attn.weight",
                "rwkv.blocks.0.attention.receptance.weight",
                "rwkv.blocks.0.attention.output.weight",
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight",
                "single_blocks.3.norm.linear.weight",
                "conv_in.weight",
                "resblock.conv1.weight",
                "2_Dense.linear.weight",
            ],
            Role::Linear,
        );
        check("note.weight", Told::Unknown);
        check("", Told::Unknown);
    }
}
