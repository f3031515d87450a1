//! Reading `config.json`: what is accepted, what is refused and how.

use super::*;

const LLAMA: &str = r#"{"model_type":"llama","hidden_size":32,"num_attention_heads":4,"num_hidden_layers":2,
    "intermediate_size":64,"vocab_size":64"#;

#[track_caller]
fn check(extra: &str) -> ModelConfig {
    ModelConfig::from_json(&format!("{LLAMA}{extra}}}")).unwrap()
}

#[track_caller]
fn check_refused(extra: &str, field: &str) {
    match ModelConfig::from_json(&format!("{LLAMA}{extra}}}")) {
        Err(Error::ConfigField { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_llama_with_its_defaults() {
    let config = check("");
    assert_eq!(
        (config.head_dim, config.n_kv_heads, config.tied_head),
        (8, 4, false)
    );
    assert_eq!(
        config.rotary,
        Some(RotaryConfig {
            base: 1e4,
            scaling: RopeScaling::None
        })
    );
    assert_eq!(config.attention_windows, [None, None]);
}

#[test]
fn reads_both_spellings_of_the_rotary_base() {
    assert_eq!(check(r#","rope_theta":5e5"#).rotary.unwrap().base, 5e5);
    let nested = check(r#","rope_parameters":{"rope_theta":7e4,"rope_type":"default"}"#);
    assert_eq!(nested.rotary.unwrap().base, 7e4);
}

#[test]
fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
    let config = check(
        r#","rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
        "high_freq_factor":4.0,"original_max_position_embeddings":8192}"#,
    );
    let scaled = config.rotary.unwrap().frequencies(64);
    let plain = RotaryConfig {
        base: 1e4,
        scaling: RopeScaling::None,
    }
    .frequencies(64);
    assert_eq!(scaled[0], plain[0]);
    assert!((scaled[31] - plain[31] / 8.0).abs() < 1e-12);
}

#[test]
fn names_the_unknown_architecture_and_the_known_ones() {
    match ModelConfig::from_json(r#"{"model_type":"mamba"}"#) {
        Err(Error::UnknownArchitecture { found, known }) => {
            assert_eq!(found, "mamba");
            assert!(known.contains("llama") && known.contains("bert"));
        }
        other => panic!("{other:?}"),
    }
    let unnamed = ModelConfig::from_json(r#"{"architectures":["FooForCausalLM"]}"#);
    assert!(
        matches!(unnamed, Err(Error::UnknownArchitecture { found, .. }) if found == "FooForCausalLM")
    );
}

#[test]
fn refuses_what_it_does_not_run() {
    check_refused(
        r#","rope_scaling":{"rope_type":"yarn","factor":4.0}"#,
        "rope_scaling.rope_type",
    );
    check_refused(r#","num_key_value_heads":3"#, "num_key_value_heads");
    check_refused(r#","hidden_act":"mish""#, "hidden_act");
    check_refused(r#","head_dim":7"#, "head_dim");
    check_refused(r#","rms_norm_eps":0.0"#, "norm eps");
    check_refused(
        r#","max_position_embeddings":-1"#,
        "max_position_embeddings",
    );
    check_refused(r#","head_dim":0"#, "head_dim");
    check_refused(r#","attention_bias":3"#, "attention_bias");
}

#[test]
fn refuses_text_that_is_not_json() {
    assert!(matches!(
        ModelConfig::from_json("{"),
        Err(Error::ConfigJson { .. })
    ));
    assert!(matches!(
        ModelConfig::from_json("[]"),
        Err(Error::ConfigJson { .. })
    ));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn never_panics_on_arbitrary_text(text in ".{0,200}", number in -3i64..1_000_000_000_000) {
        let _ = ModelConfig::from_json(&text);
        let _ = ModelConfig::from_json(&format!("{LLAMA},\"num_attention_heads\":{number}}}"));
        let _ = ModelConfig::from_json(&format!("{LLAMA},\"head_dim\":{number}}}"));
    }
}
