//! Sizes, rates and predicted divergences that are asked for, and who gets the bits.

use nwc::{CompressOptions, Inspection, NoProgress, RateTarget};
use nwc_tests::{TestTensor, write_checkpoint};
use safetensors::Dtype;

use crate::case::{COLS, Case, EMBEDDING, ROWS, UP, guided, row, trellis};

#[test]
fn sizes_are_met() {
    let case = Case::new(false);
    let check = |name: &str, target: RateTarget, found: &dyn Fn(&Inspection) -> f64, asked: f64| {
        for stats in [None, Some(case.path("stats"))] {
            let mut options = CompressOptions::new(trellis(target));
            options.statistics = stats.clone();
            let out = format!("{name}-{}", stats.is_some());
            let inspection = case.compress(&out, &options);
            let off = found(&inspection) / asked - 1.0;
            assert!(off.abs() < 0.005, "{out}: off by {off}");
        }
    };
    for bits in [2.5, 4.0, 6.0] {
        let payload = |i: &Inspection| i.totals.bpw_payload_linear;
        check(
            &format!("payload{bits}"),
            RateTarget::BpwPayload(bits),
            &payload,
            bits,
        );
    }
    let total = |i: &Inspection| i.totals.bpw_total;
    check("total", RateTarget::BpwTotal(7.0), &total, 7.0);
    let bytes = |i: &Inspection| i.totals.total_bytes as f64;
    check("bytes", RateTarget::TotalBytes(20_000), &bytes, 20_000.0);
}

#[test]
fn sizes_count_what_is_not_coded_and_what_is_tied_once() {
    let dir = tempfile::tempdir().unwrap();
    let tensor =
        |name: &str, shape: &[usize], seed| TestTensor::gaussian(name, shape, Dtype::F32, seed);
    let embedding = tensor(EMBEDDING, &[480, COLS], 1);
    let mut head = embedding.clone();
    head.name = "lm_head.weight".into();
    let others = vec![head, tensor("model.norm.weight", &[1000], 3)];
    let linear = tensor(UP, &[ROWS, COLS], 2);
    write_checkpoint(
        &dir.path().join("model"),
        &[vec![embedding, linear], others],
    );
    let n_params = (480 * COLS + ROWS * COLS + 1000) as f64;
    for (name, target, asked) in [
        ("total", RateTarget::BpwTotal(6.0), 6.0 * n_params / 8.0),
        ("bytes", RateTarget::TotalBytes(26_000), 26_000.0),
    ] {
        let options = CompressOptions::new(trellis(target));
        let out = dir.path().join(name);
        let inspection =
            nwc::compress(dir.path().join("model"), &out, &options, &NoProgress).unwrap();
        let files = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap());
        let shards = files.filter(|f| f.file_name().to_string_lossy().contains(".safetensors"));
        let n_bytes: u64 = shards.map(|f| f.metadata().unwrap().len()).sum();
        assert_eq!(inspection.totals.total_bytes, n_bytes, "shards and index");
        let off = n_bytes as f64 / asked - 1.0;
        assert!(off.abs() < 0.005, "{name}: off by {off}");
    }
}

#[test]
fn predicted_kl_aims_where_it_says() {
    let case = Case::new(false);
    // What the errors made cost by the statistics' own second-order model, without feedback: ½ Σ E[g²] H_jj e².
    let cost = |out: &str| {
        let delta = case.restored_up(out) - &case.up;
        let mut kl = 0.0;
        for ((i, j), e) in delta.indexed_iter() {
            kl += 0.5 * f64::from(case.fisher[i] * case.hessian[[j, j]] * e * e);
        }
        kl
    };
    let mut found = Vec::new();
    for max_kl in [0.04, 0.01] {
        let mut options = guided(trellis(RateTarget::MaxKl(max_kl)), &case.path("stats"));
        options.ablation.feedback = None;
        let out = format!("kl{max_kl}");
        case.compress(&out, &options);
        found.push(cost(&out));
    }
    // One of three matrices: its share of the cost goes with its share of the weights.
    let share = (ROWS * COLS) as f64 / (2 * ROWS * COLS + 160 * COLS) as f64;
    let ratio = found[0] / (0.04 * share);
    assert!(
        (0.6..1.6).contains(&ratio),
        "{ratio} of the share of what was asked for"
    );
    let ratio = found[0] / found[1];
    assert!(
        (3.0..5.0).contains(&ratio),
        "a quarter of the divergence: {ratio}"
    );
}

#[test]
fn a_tied_embedding_gets_its_bits() {
    let case = Case::new(false);
    let bits = |out: &str, embedding_bits: Option<f64>| {
        let mut options = guided(trellis(RateTarget::BpwPayload(4.0)), &case.path("stats"));
        options.embedding_bits = embedding_bits;
        row(&case.compress(out, &options), EMBEDDING).bpw
    };
    let default = bits("default", None);
    let none = bits("none", Some(0.0));
    let two = bits("two", Some(2.0));
    assert!(
        (0.8..1.2).contains(&(default - none)),
        "{default} against {none}"
    );
    assert!((1.8..2.2).contains(&(two - none)), "{two} against {none}");
}
