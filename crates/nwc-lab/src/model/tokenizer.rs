//! Builds `tokenizer.json` and its companions from GGUF's token list.
//!
//! The vocabulary is GPT-2's kind: byte-level byte-pair encoding. GGUF names the way in which text is cut before
//! that by a word; for `smollm` every digit stands alone and the rest is cut by GPT-2's pattern.

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Map, Value as Json, json};

use super::gguf::{Gguf, Value};

/// GGUF's kind of token that is never made from text pieces.
const CONTROL: i64 = 3;

/// The files that describe the tokenizer, by name.
///
/// # Errors
/// Where the file's tokenizer is of another kind or its lists are no good.
pub(crate) fn files(gguf: &Gguf<'_>) -> Result<Vec<(&'static str, String)>> {
    for (key, expected) in [
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", "smollm"),
    ] {
        let found = gguf.text(key)?;
        ensure!(
            found == expected,
            "{key} is '{found}', expected '{expected}'"
        );
    }
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let merges = gguf.texts("tokenizer.ggml.merges")?;
    let control = control_ids(gguf, tokens.len())?;
    let tokenizer = Tokenizer {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: control
            .iter()
            .map(|&id| added_token(id, tokens[id]))
            .collect(),
        normalizer: None,
        pre_tokenizer: json!({
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Digits", "individual_digits": true },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            ],
        }),
        post_processor: None,
        decoder: json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        }),
        model: Bpe {
            kind: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Vocab(tokens.clone()),
            merges,
        },
    };
    let special = special_tokens(gguf, &tokens)?;
    let config = tokenizer_config(gguf, &tokens, &control, &special)?;
    Ok(vec![
        ("tokenizer.json", serde_json::to_string_pretty(&tokenizer)?),
        (
            "tokenizer_config.json",
            serde_json::to_string_pretty(&config)?,
        ),
        (
            "special_tokens_map.json",
            serde_json::to_string_pretty(&special)?,
        ),
    ])
}

fn control_ids(gguf: &Gguf<'_>, n_tokens: usize) -> Result<Vec<usize>> {
    let kinds = gguf.list("tokenizer.ggml.token_type")?;
    ensure!(
        kinds.len() == n_tokens,
        "{} token types for {n_tokens} tokens",
        kinds.len()
    );
    let control = kinds
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind == Value::Signed(CONTROL));
    Ok(control.map(|(id, _)| id).collect())
}

fn added_token(id: usize, content: &str) -> Json {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

fn special_tokens(gguf: &Gguf<'_>, tokens: &[&str]) -> Result<Map<String, Json>> {
    let mut special = Map::new();
    for (name, key) in [
        ("bos_token", "tokenizer.ggml.bos_token_id"),
        ("eos_token", "tokenizer.ggml.eos_token_id"),
        ("pad_token", "tokenizer.ggml.padding_token_id"),
        ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ] {
        let id = gguf.count(key)?;
        let Some(token) = tokens.get(id) else {
            bail!("{key} is {id}, the vocabulary has {} tokens", tokens.len());
        };
        special.insert(name.into(), (*token).into());
    }
    Ok(special)
}

fn tokenizer_config(
    gguf: &Gguf<'_>,
    tokens: &[&str],
    control: &[usize],
    special: &Map<String, Json>,
) -> Result<Map<String, Json>> {
    let mut added = Map::new();
    for &id in control {
        let mut token = added_token(id, tokens[id]);
        token.as_object_mut().and_then(|fields| fields.remove("id"));
        added.insert(id.to_string(), token);
    }
    let mut config = special.clone();
    config.insert("added_tokens_decoder".into(), added.into());
    config.insert("add_prefix_space".into(), false.into());
    config.insert("clean_up_tokenization_spaces".into(), false.into());
    config.insert(
        "model_max_length".into(),
        gguf.count("llama.context_length")?.into(),
    );
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    if let Ok(template) = gguf.text("tokenizer.chat_template") {
        config.insert("chat_template".into(), template.into());
    }
    Ok(config)
}

#[derive(Serialize)]
struct Tokenizer<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<Json>,
    normalizer: Option<()>,
    pre_tokenizer: Json,
    post_processor: Option<()>,
    decoder: Json,
    model: Bpe<'a>,
}

#[derive(Serialize)]
struct Bpe<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<&'a str>,
    end_of_word_suffix: Option<&'a str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocab<'a>,
    merges: Vec<&'a str>,
}

/// Written as an object from token to id, in the order of the ids.
struct Vocab<'a>(Vec<&'a str>);

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_in_the_order_of_the_ids() {
        let text = serde_json::to_string(&Vocab(vec!["z", "a", "Ġ"])).unwrap();
        assert_eq!(text, r#"{"z":0,"a":1,"Ġ":2}"#);
    }

    #[test]
    fn another_kind_of_tokenizer_is_refused() {
        let gguf = super::super::gguf::tests::with_text("tokenizer.ggml.model", "llama");
        let file = Gguf::parse(&gguf).unwrap();
        let error = files(&file).unwrap_err().to_string();
        assert_eq!(error, "tokenizer.ggml.model is 'llama', expected 'gpt2'");
    }
}
