//! The names that model families have used so far.

/// Parts of names, anywhere, with the reason why such tensors are kept.
pub(super) const KEPT_PARTS: [(&[&str], &str); 8] = [
    (
        &[
            "lora_",
            "hada_w",
            "lokr_",
            "oft_r",
            "oft_block",
            "dora_scale",
            ".ia3_",
            "vera_lambda",
        ],
        "a matrix of an adapter is coded only with --code",
    ),
    (
        &[
            "position_embedding",
            "positional_embedding",
            "embed_positions",
            "pos_embed",
            "pos_emb.",
            "position_ids",
            "relative_attention_bias",
            "relative_position",
            "relative_bias",
            "rel_pos",
            "relpos",
            "attn_rel_b",
            "attention_biases",
            "pos_conv",
            "pos_bias",
            "rotary",
            "inv_freq",
            "freqs_cis",
            "cos_cached",
            "sin_cached",
        ],
        "a table of positions",
    ),
    (
        &[
            "A_log",
            "dt_proj",
            "dt_bias",
            "ssm_dt",
            "ssm_a",
            "time_mix",
            "time_maa",
            "time_decay",
            "time_faaaa",
            "time_first",
            "lerp_fused",
            "token_shift",
        ],
        "a parameter of a recurrence, whose errors add up over time",
    ),
    (
        &[
            "conv1d",
            "shortconv",
            "short_conv",
            "conv_dw",
            "dwconv",
            "depthwise",
            "dw_conv",
            "_conv1d.",
        ],
        "a short or depthwise convolution",
    ),
    (
        &["time_embed", "timestep_embed", "time_text_embed"],
        TIME_STEPS,
    ),
    (&["codebook", "cluster_centers"], "a codebook"),
    (
        &[
            "absmax",
            "quant_map",
            "quant_state",
            "SCB",
            "scale_inv",
            "weight_scale",
            "input_scale",
        ],
        "a scale of a quantised tensor",
    ),
    (&["altup", "laurel"], "a small mixing matrix"),
];

/// Parts of names between dots, whole: anywhere inside a part they would be found in others.
pub(super) const KEPT_WHOLE: [(&[&str], &str); 1] = [(
    // `context_embedder` ends so, too.
    &["t_embedder", "time_embedder"],
    TIME_STEPS,
)];

/// Last parts of names (before `.weight`), whole.
pub(super) const KEPT_LAST: [(&[&str], &str); 5] = [
    (
        &[
            "scale",
            "scales",
            "zeros",
            "zero_point",
            "qzeros",
            "g_idx",
            "perm",
            "weight_shape",
            "scaler",
            "logit_scale",
        ],
        "a scale or a zero point",
    ),
    (
        &[
            "a_proj",
            "b_proj",
            "in_proj_a",
            "in_proj_b",
            "in_proj_ba",
            "f_a_proj",
            "f_b_proj",
            "decay",
            "dt",
        ],
        "a parameter of a recurrence, whose errors add up over time",
    ),
    (&["wpe"], "a table of positions"),
    (
        &["masked_bias", "mask", "causal_mask", "attention_mask"],
        "a mask",
    ),
    (
        &["cls_token", "mask_token", "query_tokens", "class_embedding"],
        "a learnt token",
    ),
];

/// Why what is made of time steps is kept.
const TIME_STEPS: &str = "an embedding of time steps";

/// Why a router is kept.
pub(super) const ROUTER: &str = "a router's choices are not to be disturbed";

/// Ends of the last part that only linears and convolutions have.
pub(super) const LINEAR_ENDS: [&str; 21] = [
    "_proj",
    "proj",
    "dense",
    "linear",
    "projection",
    "fc",
    "conv",
    "query",
    "key",
    "value",
    "attn",
    "out",
    "mlp",
    "kernel",
    "_weight",
    "wq",
    "wk",
    "wv",
    "wo",
    "qkv",
    "query_key_value",
];

/// Whole last parts that only linears and convolutions have.
pub(super) const LINEARS: [&str; 39] = [
    "q",
    "k",
    "v",
    "o",
    "wi",
    "wi_0",
    "wi_1",
    "wi_2",
    "w1",
    "w2",
    "w3",
    "fc1",
    "fc2",
    "fc3",
    "c_attn",
    "c_proj",
    "c_fc",
    "c_q",
    "c_k",
    "c_v",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "gate_up_proj",
    "up_gate_proj",
    "in_proj_qkvz",
    "receptance",
    "output",
    "out_lin",
    "lin1",
    "lin2",
    "q_lin",
    "k_lin",
    "v_lin",
    "linear_1",
    "linear_2",
    "kv",
    "weights_in",
    "weights_out",
    "reduction",
];
