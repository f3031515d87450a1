//! Scores against whole logits, and what is refused.

use super::*;
use crate::model::ModelOptions;
use crate::testing::{Fixture, fixture};

/// Token `t{id}` is id; words are split at spaces, which belong to no token.
fn tokenizer() -> TextTokenizer {
    let vocab: BTreeMap<String, u32> = (0..64).map(|id| (format!("t{id}"), id)).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "t0"},
    });
    TextTokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

fn words(tokens: &[u32]) -> String {
    tokens
        .iter()
        .map(|id| format!("t{id}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn run(items: &[ChoiceItem]) -> Result<ZeroShot> {
    let Fixture {
        config, weights, ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default())?;
    zero_shot(&model, &tokenizer(), items, &mut |_, _| ())
}

#[test]
fn picks_what_the_logits_say() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let context = &tokens[..6];
    let choices: [&[u32]; 3] = [&[5, 9, 61], &[7], &[33, 2]];
    let score = |choice: &[u32]| -> f64 {
        let all = [context, choice].concat();
        let log_p = model.logits(&all).unwrap().log_softmax(-1, Kind::Double);
        let position = |idx: usize| (context.len() + idx - 1) as i64;
        choice
            .iter()
            .enumerate()
            .map(|(idx, &id)| log_p.double_value(&[position(idx), id.into()]))
            .sum()
    };
    let texts: Vec<String> = choices
        .iter()
        .map(|choice| format!(" {}", words(choice)))
        .collect();
    let best = |value: &dyn Fn(usize) -> f64| {
        (0..3)
            .max_by(|&a, &b| value(a).total_cmp(&value(b)))
            .unwrap()
    };
    let plain = best(&|idx| score(choices[idx]));
    let normalized = best(&|idx| score(choices[idx]) / texts[idx].trim().len() as f64);
    let items: Vec<ChoiceItem> = (0..3)
        .map(|gold| ChoiceItem {
            context: words(context),
            choices: texts.clone(),
            gold,
        })
        .collect();
    for (gold, item) in items.iter().enumerate() {
        let found = run(std::slice::from_ref(item)).unwrap();
        assert_eq!(found.accuracy, f64::from(u8::from(gold == plain)));
        assert_eq!(
            found.normalized_accuracy,
            f64::from(u8::from(gold == normalized))
        );
    }
    let all = run(&items).unwrap();
    assert!((all.accuracy - 1.0 / 3.0).abs() < 1e-12 && all.n_items == 3);
}

#[test]
fn takes_empty_and_overlong_contexts() {
    let item = |context: String| ChoiceItem {
        context,
        choices: vec![" t1".to_owned(), " t2 t3".to_owned()],
        gold: 0,
    };
    let long = words(&[4; 80]);
    assert_eq!(run(&[item(String::new()), item(long)]).unwrap().n_items, 2);
}

#[track_caller]
fn check_refused(result: Result<impl std::fmt::Debug>, expected_line: usize) {
    match result {
        Err(Error::ChoiceItem { line, .. }) => assert_eq!(line, expected_line),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_the_line_that_is_wrong() {
    let good = r#"{"context":"a","choices":["b","c"],"gold":1}"#;
    assert_eq!(
        parse_choice_items(&format!("{good}\n\n{good}\n"))
            .unwrap()
            .len(),
        2
    );
    check_refused(parse_choice_items(&format!("{good}\nnot json")), 2);
    check_refused(
        parse_choice_items(r#"{"context":"a","choices":["b"],"gold":1}"#),
        1,
    );
    check_refused(run(&[]), 1);
    let empty = ChoiceItem {
        context: "t1".to_owned(),
        choices: vec![String::new()],
        gold: 0,
    };
    check_refused(run(&[empty]), 1);
    let long = ChoiceItem {
        context: "t1".to_owned(),
        choices: vec![words(&[4; 80])],
        gold: 0,
    };
    check_refused(run(&[long]), 1);
}
