//! What is written is what is read, for any table, any reserve, and by the safetensors crate too.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;
use crate::{HeaderPlan, PlainWriter, ShardHeader, plain_header_bytes, section_name};

#[test]
#[cfg_attr(miri, ignore = "megabytes, hours under Miri")]
fn every_reserve_gives_the_same_content() {
    let expected = read(&small_shard(0)).unwrap();
    let n_least = small_shard(0).len();
    for reserve in [0, 1, 8, 500, 1900, 2100, 4000, 100_001] {
        let bytes = small_shard(reserve);
        assert_eq!(bytes, small_shard(reserve), "not deterministic");
        assert_eq!(read(&bytes).unwrap(), expected);
        let n_data_bytes = 4 + 5 + 7 + 2 + 7;
        assert_eq!(
            bytes.len(),
            n_least.max(8 + reserve.next_multiple_of(8) + n_data_bytes)
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "megabytes, hours under Miri")]
fn data_larger_than_a_block_moves_whole() {
    let big: Vec<u8> = (0..3_000_001u32).map(|i| (i % 253) as u8).collect();
    let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    let section = writer.raw("big", DType::U8, &[big.len()], &big).unwrap();
    let mut metadata = ShardMetadata::new("test", Digest::of(b""));
    metadata.tensors = vec![record(
        "big",
        DType::U8,
        &[big.len()],
        Coding::Raw,
        vec![section.clone()],
    )];
    let bytes = writer.finish(metadata).unwrap().into_inner();
    let shard = Shard::parse(&bytes[..], &Limits::default()).unwrap();
    assert!(shard.section(&section).unwrap() == big);
}

/// The plan of [`small_shard`], told the sizes it will have.
fn small_plan(metadata: &ShardMetadata) -> usize {
    let mut plan = HeaderPlan::new();
    plan.raw("norm", DType::BF16, &[2]);
    plan.codec("c0", 5);
    plan.coded("w", "payload", DType::U8, &[7]);
    plan.coded("w", "scales", DType::F16, &[1]);
    plan.coded("bias", "payload", DType::U8, &[7]);
    plan.reserve(metadata).unwrap()
}

#[test]
fn planned_reserve_is_exact() {
    let metadata = read(&small_shard(0)).unwrap();
    let with_longest = |figure: f64, parameter: f64| {
        let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
        writer
            .raw("norm", DType::BF16, &[2], &[1, 2, 3, 4])
            .unwrap();
        writer.codec("c0", b"codec").unwrap();
        let payload = encode_payload(&[&[9, 8, 7][..], &[6]]);
        writer.coded("w", "payload", &payload).unwrap();
        writer
            .coded_as("w", "scales", DType::F16, &[1], &[0, 60])
            .unwrap();
        writer.coded("bias", "payload", b"packed!").unwrap();
        let mut metadata = metadata.clone();
        for record in [0, 2].map(|idx| metadata.tensors[idx].clone()) {
            let idx = if record.name == "w" { 0 } else { 2 };
            metadata.tensors[idx].bits_estimated = Some(figure);
            metadata.tensors[idx].nmse = Some(figure);
        }
        if let Coding::Coded { parameters, .. } = &mut metadata.tensors[0].coding {
            parameters.insert("step".into(), parameter);
        }
        let bytes = writer.finish(metadata).unwrap().into_inner();
        bytes.len() - 8 - (4 + 5 + 7 + 2 + 7)
    };
    // The plan knows the sizes but no figure: it is the header with the longest figures there are.
    let reserve = small_plan(&metadata);
    assert_eq!(
        reserve,
        with_longest(2.2250738585072014e-308, -2.2250738585072014e-308)
    );
    assert!(with_longest(1.0, 1.0) < reserve);
}

/// Sizes, figures and places never make a header longer than its plan.
#[test]
fn planned_reserve_is_enough() {
    let metadata = read(&small_shard(0)).unwrap();
    let reserve = small_plan(&metadata);
    let n_data_bytes = 4 + 5 + 7 + 2 + 7;
    assert_eq!(small_shard(reserve).len(), 8 + reserve + n_data_bytes);
    let mut plan = HeaderPlan::new();
    plan.coded("w", "payload", DType::U8, &[usize::MAX]);
    plan.coded("w", "scales", DType::F16, &[usize::MAX]);
    plan.reserve(&metadata).unwrap();
}

#[test]
fn the_safetensors_crate_reads_a_shard() {
    let bytes = small_shard(4000);
    let plain = SafeTensors::deserialize(&bytes).unwrap();
    let norm = plain.tensor("norm").unwrap();
    assert_eq!(
        (norm.dtype(), norm.shape(), norm.data()),
        (safetensors::Dtype::BF16, &[2][..], &[1, 2, 3, 4][..])
    );
    assert_eq!(plain.tensor("nwc.codec.c0").unwrap().data(), b"codec");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
}

/// The table and header of a real model's shape, without its weights: what they cost.
#[test]
#[cfg_attr(miri, ignore = "megabytes, hours under Miri")]
fn header_of_a_small_model_is_a_small_part() {
    let linears = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "mlp.gate_proj",
        "mlp.down_proj",
    ];
    let n_weights_each = 106_168_320 / (30 * 7);
    let bytes = vec![0; n_weights_each / 2];
    let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    let mut metadata = ShardMetadata::new("nwc 0.1.0", Digest::of(b""));
    metadata
        .codecs
        .push(writer.codec("trellis", &[0; 4000]).unwrap());
    for layer in 0..4 {
        for linear in linears {
            let name = format!("model.layers.{layer}.{linear}.weight");
            let payload = writer.coded(&name, "payload", &bytes).unwrap();
            let scales = writer
                .coded_as(&name, "scales", DType::F16, &[576], &[0; 1152])
                .unwrap();
            let parameters = BTreeMap::from([("step".to_owned(), 0.1234567)]);
            let coding = Coding::Coded {
                family: "trellis".into(),
                codec: "trellis".into(),
                parameters,
                base: false,
            };
            let mut tensor = record(
                &name,
                DType::BF16,
                &[576, 877],
                coding,
                vec![payload, scales],
            );
            tensor.bits_estimated = Some(2_022_254.123456);
            tensor.nmse = Some(0.012345678901234);
            metadata.tensors.push(tensor);
        }
    }
    let n_tensors = metadata.tensors.len();
    let file = writer.finish(metadata).unwrap().into_inner();
    let n_per_tensor = data_start(&file) / n_tensors;
    // 0.3 % of a tensor of 252 kB at 4 bits a weight: 0.011 bit.
    assert!(n_per_tensor < 760, "{n_per_tensor}");
}

#[test]
fn digest_key_inside_strings_is_no_digest() {
    let pattern = r#"","nwc_digest":"0000"#;
    let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    let section = writer.raw(pattern, DType::U8, &[1], &[5]).unwrap();
    let mut metadata = ShardMetadata::new(pattern, Digest::of(b""));
    metadata.extra.insert(pattern.into(), pattern.into());
    metadata.tensors = vec![record(pattern, DType::U8, &[1], Coding::Raw, vec![section])];
    let bytes = writer.finish(metadata.clone()).unwrap().into_inner();
    assert_eq!(read(&bytes).unwrap(), metadata);
}

#[test]
fn sections_and_payload_come_back() {
    let bytes = small_shard(0);
    let shard = Shard::parse(&bytes[..], &Limits::default()).unwrap();
    let w = shard.record("w").unwrap();
    assert_eq!(
        shard.payload(w.section("payload").unwrap()).unwrap(),
        [&[9, 8, 7][..], &[6]]
    );
    assert_eq!(
        shard.section(w.section("scales").unwrap()).unwrap(),
        [0, 60]
    );
    assert_eq!(w.stored_bytes(), 9);
    assert_eq!(shard.codec(&shard.metadata().codecs[0]).unwrap(), b"codec");
    assert!(shard.record("gone").is_none());
    let head = ShardHeader::read(&bytes[..], bytes.len() as u64, &Limits::default()).unwrap();
    assert_eq!(head.metadata(), shard.metadata());
    // Whatever holds the bytes, and where in them a section is.
    let owned = Shard::parse(bytes.clone(), &Limits::default()).unwrap();
    let scales = w.section("scales").unwrap();
    let range = owned.section_range(scales).unwrap();
    assert_eq!(owned.bytes()[range], [0, 60]);
    owned.verify().unwrap();
    let mut foreign = w.sections[0].clone();
    foreign.name = "elsewhere".into();
    check_error(
        shard.section(&foreign),
        "section is `elsewhere` of 7 bytes, allowed is one of this shard's sections",
    );
}

#[test]
fn plain_files_have_an_exact_reserve() {
    let tensors = [
        ("a\"é".to_owned(), DType::F32, vec![2]),
        ("empty".to_owned(), DType::F16, vec![0, 4]),
        ("scalar".to_owned(), DType::U8, vec![]),
    ];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let reserve = plain_header_bytes(&tensors, &metadata).unwrap();
    let mut writer = PlainWriter::new(Cursor::new(Vec::new()), reserve).unwrap();
    writer
        .tensor(&tensors[0].0, DType::F32, &[2], &[1; 8])
        .unwrap();
    writer.tensor("empty", DType::F16, &[0, 4], &[]).unwrap();
    writer.tensor("scalar", DType::U8, &[], &[7]).unwrap();
    let bytes = writer.finish(&metadata).unwrap().into_inner();
    assert_eq!(bytes.len(), 8 + reserve + 9);
    let plain = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(plain.tensor("a\"é").unwrap().data(), [1; 8]);
    assert_eq!(plain.tensor("scalar").unwrap().data(), [7]);
    let header = Header::parse(&bytes, bytes.len() as u64, &Limits::default()).unwrap();
    assert_eq!(header.metadata(), &metadata);
    let names: Vec<_> = header
        .entries()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(names, ["a\"é", "empty", "scalar"]);
}

/// Names with quotes, backslashes, dots and our own separators.
fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set("[a-c\"\\\\é.]{1,4}(\\.nwc\\.levels)?", 0..6)
        .prop_map(|names| names.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

    #[test]
    fn any_table_round_trips(
        names in names(),
        data in prop::collection::vec(any::<u8>(), 0..40),
        figure in prop::option::of(0.0..1e300),
        step in prop::num::f64::NORMAL,
        reserve in 0usize..3000,
        text in ".{0,8}",
    ) {
        let mut writer = ShardWriter::new(Cursor::new(Vec::new()), reserve).unwrap();
        let mut metadata = ShardMetadata::new(text.clone(), Digest::of(&data));
        metadata.codecs.push(writer.codec("c-0", &data).unwrap());
        for (idx, name) in names.iter().enumerate() {
            let (coding, sections) = match idx % 3 {
                0 => (Coding::Raw, vec![writer.raw(name, DType::U8, &[data.len()], &data).unwrap()]),
                // A name can collide with a section of another tensor: the writer refuses, it does not overwrite.
                1 => match writer.coded(name, "levels", &data[..idx.min(data.len())]) {
                    Ok(levels) => (
                        Coding::Coded {
                            family: "trellis".into(),
                            codec: "c-0".into(),
                            parameters: BTreeMap::from([("step".into(), step)]),
                            base: false,
                        },
                        vec![levels, writer.coded(name, "payload", &[0; 41]).unwrap()],
                    ),
                    Err(_) => continue,
                },
                _ => (Coding::TiedTo { name: names[0].clone() }, vec![]),
            };
            let mut tensor = record(name, DType::U8, &[data.len()], coding, sections);
            tensor.bits_estimated = figure;
            tensor.reason = Some(text.clone());
            metadata.tensors.push(tensor);
        }
        for key in ["k", "nwc", "nwc_digest", "total_parameters"] {
            metadata.extra.insert(key.into(), text.clone());
        }
        metadata.total_parameters = (reserve % 2 == 0).then_some(u64::MAX);
        let bytes = writer.finish(metadata.clone()).unwrap().into_inner();
        prop_assert_eq!(read(&bytes).unwrap(), metadata);
        prop_assert!(SafeTensors::deserialize(&bytes).is_ok());
    }

    #[test]
    fn names_tell_tensor_and_role(tensor in "[a-z.]{1,8}", role in "[a-z]{1,6}") {
        let own = [crate::ROLE_TENSOR, crate::ROLE_PAYLOAD];
        let name = section_name(&tensor, &role);
        match own.contains(&role.as_str()) {
            true => prop_assert_eq!(name, tensor),
            false => prop_assert_eq!(name.rsplit_once(".nwc."), Some((tensor.as_str(), role.as_str()))),
        }
    }
}

#[test]
fn checkpoints_below_are_listed() {
    let mut metadata = ShardMetadata::new("test", Digest::of(b""));
    metadata.checkpoints = vec!["a".into(), "a-b".into(), "vae/x".into()];
    metadata.files.insert("a.json".into(), Digest::of(b""));
    let writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    let bytes = writer.finish(metadata.clone()).unwrap().into_inner();
    assert_eq!(read(&bytes).unwrap(), metadata);
}
