//! What encoder and decoder do together.

use proptest::prelude::*;

use crate::*;

/// A set of 1 to 5 tables of any precision.
pub(crate) fn arbitrary_tables() -> impl Strategy<Value = TableSet> {
    let weights = prop::collection::vec(prop_oneof![0.0..1.0_f64, 0.0..1e-5_f64, Just(0.0)], 1..50);
    let offset = prop_oneof![-40..10_i32, Just(i32::MIN), Just(i32::MAX - 49)];
    let tables = prop::collection::vec((weights, offset), 1..6);
    (MIN_PRECISION..=MAX_PRECISION, tables).prop_map(|(precision, tables)| {
        let table = |(mut weights, offset): (Vec<f64>, i32)| {
            weights[0] += 1e-9;
            CdfTable::from_pmf(&weights, offset, precision).unwrap()
        };
        TableSet::new(tables.into_iter().map(table).collect()).unwrap()
    })
}

/// Steps of table indices and symbols that are in their table, mostly.
type Steps = Vec<(Vec<u16>, Vec<i32>)>;

fn arbitrary_steps() -> impl Strategy<Value = (TableSet, Steps)> {
    let step_len = prop_oneof![3 => Just(LANES), 1 => 0..=LANES, 1 => Just(1)];
    let symbol = (
        any::<u16>(),
        prop_oneof![30 => 0..50_i64, 1 => any::<i32>().prop_map(i64::from)],
    );
    let step = step_len.prop_flat_map(move |len| prop::collection::vec(symbol.clone(), len));
    let steps = prop_oneof![
        prop::collection::vec(step.clone(), 0..6),
        prop::collection::vec(step, 40..200)
    ];
    (arbitrary_tables(), steps).prop_map(|(tables, steps)| {
        let place = |(idx, symbol): (u16, i64)| {
            let idx = idx % tables.len() as u16;
            let min = i64::from(tables.get(usize::from(idx)).unwrap().min_symbol());
            (
                idx,
                (min + symbol).clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            )
        };
        let steps = steps
            .into_iter()
            .map(|step| step.into_iter().map(place).unzip())
            .collect();
        (tables, steps)
    })
}

fn encode(tables: &TableSet, steps: &Steps) -> Vec<u8> {
    encode_by(Backend::Portable, tables, steps)
}

fn encode_by(backend: Backend, tables: &TableSet, steps: &Steps) -> Vec<u8> {
    let mut encoder = StreamEncoder::with_backend(tables, backend);
    for (table_idx, symbols) in steps {
        encoder.push_step(table_idx, symbols).unwrap();
    }
    encoder.finish()
}

fn decode(tables: &DecodeTables, bytes: &[u8], steps: &Steps) -> Result<Vec<Vec<i32>>> {
    let mut decoder = StreamDecoder::new(tables, bytes)?;
    let mut decoded = Vec::new();
    for (table_idx, _) in steps {
        let mut out = vec![0; table_idx.len()];
        decoder.decode_step(table_idx, &mut out)?;
        decoded.push(out);
    }
    decoder.finish()?;
    Ok(decoded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

    #[test]
    fn round_trip((tables, steps) in arbitrary_steps()) {
        let bytes = encode(&tables, &steps);
        let decoded = decode(&DecodeTables::new(&tables), &bytes, &steps);
        prop_assert_eq!(decoded, Ok(steps.into_iter().map(|step| step.1).collect()));
    }

    #[test]
    fn all_backends_agree((tables, steps) in arbitrary_steps(), flip in any::<(prop::sample::Index, u8)>()) {
        let mut bytes = encode(&tables, &steps);
        for &backend in Backend::ALL {
            prop_assert_eq!(&encode_by(backend, &tables, &steps), &bytes);
        }
        *flip.0.get_mut(&mut bytes) ^= flip.1;
        let decode_by = |backend| decode(&DecodeTables::with_backend(&tables, backend), &bytes, &steps);
        let expected = decode_by(Backend::Portable);
        for &backend in Backend::ALL {
            prop_assert_eq!(&decode_by(backend), &expected);
        }
    }

    /// Lanes with tables of their own, symbols at once and not step by step; enough of them for every kernel.
    #[test]
    fn bulk_is_the_same_as_step_by_step(
        tables in arbitrary_tables(),
        table_of_lane in prop::array::uniform32(any::<u16>()),
        symbols in prop::collection::vec(prop_oneof![200 => 0..20_i64, 1 => any::<i32>().prop_map(i64::from)], 0..9000),
    ) {
        let table_of_lane = table_of_lane.map(|idx| idx % tables.len() as u16);
        let table_idx: Vec<u16> = table_of_lane.iter().copied().cycle().take(symbols.len()).collect();
        let place = |(&symbol, &idx): (&i64, &u16)| {
            let min = i64::from(tables.get(usize::from(idx)).unwrap().min_symbol());
            (min + symbol).clamp(i32::MIN.into(), i32::MAX.into()) as i32
        };
        let symbols: Vec<i32> = symbols.iter().zip(&table_idx).map(place).collect();
        let bytes = encode_symbols(&tables, &table_idx, &symbols).unwrap();
        for &backend in Backend::ALL {
            let mut encoder = StreamEncoder::with_backend(&tables, backend);
            encoder.push_bulk(&table_of_lane, &symbols).unwrap();
            prop_assert_eq!(&encoder.finish(), &bytes);
            let tables = DecodeTables::with_backend(&tables, backend);
            prop_assert_eq!(decode_symbols(&tables, &bytes, &table_idx), Ok(symbols.clone()));
            let mut decoder = StreamDecoder::new(&tables, &bytes).unwrap();
            let mut out = vec![0; symbols.len()];
            decoder.decode_bulk(&table_of_lane, &mut out).unwrap();
            decoder.finish().unwrap();
            prop_assert_eq!(&out, &symbols);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed((tables, steps) in arbitrary_steps(), flip in 1..=u8::MAX) {
        let mut bytes = encode(&tables, &steps);
        let tables = DecodeTables::new(&tables);
        let symbols = Ok(steps.iter().map(|step| step.1.clone()).collect());
        // All of a short substream, a sample of a long one.
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
            bytes[at] ^= flip;
            prop_assert_ne!(&decode(&tables, &bytes, &steps), &symbols);
            bytes[at] ^= flip;
        }
        for len in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
            prop_assert_ne!(&decode(&tables, &bytes[..len], &steps), &symbols);
        }
        bytes.push(flip);
        prop_assert_ne!(&decode(&tables, &bytes, &steps), &symbols);
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(
        (tables, steps) in arbitrary_steps(),
        header in (0..200_u8, 0..200_u8, 0..34_u8, 0..100_u8),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        with_header in any::<bool>(),
    ) {
        let mut all = if with_header { vec![header.0, header.1, header.2, header.3] } else { vec![] };
        all.extend(bytes);
        let _ = decode(&DecodeTables::new(&tables), &all, &steps);
    }
}

/// A substream of 3 steps over two small tables, with an escape in the second step.
fn small_stream() -> (TableSet, Steps, Vec<u8>) {
    let tables = TableSet::new(vec![
        CdfTable::from_cdf(vec![0, 64, 192, 255, 256], -1, 8).unwrap(),
        CdfTable::from_cdf(vec![0, 200, 256], 5, 8).unwrap(),
    ])
    .unwrap();
    let steps = vec![
        (vec![0, 0, 1], vec![0, 1, 5]),
        (vec![1, 0], vec![-300, -1]),
        (vec![0], vec![0]),
    ];
    let bytes = encode(&tables, &steps);
    (tables, steps, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[cfg_attr(miri, ignore = "insta runs cargo")]
fn golden_small_stream() {
    insta::assert_snapshot!(hex(&small_stream().2), @"030301008b75e201e104");
}

/// 40 full steps and a short one, so that there are lanes and a tail. The bytes are those of a second encoder, which
/// was written from FORMAT-NOTES.md alone, in another language.
#[test]
#[cfg_attr(miri, ignore = "insta runs cargo")]
fn golden_stream_of_lanes() {
    let tables = TableSet::new(vec![CdfTable::from_pmf(&[1.0; 100], 0, 12).unwrap()]).unwrap();
    let symbols: Vec<i32> = (0..40 * 32 + 5).map(|i| i * i % 101).collect();
    let bytes = encode_symbols(&tables, &vec![0; symbols.len()], &symbols).unwrap();
    assert_eq!(bytes.len(), 1150);
    insta::assert_snapshot!(hex(&bytes[..150]), @"290320f0031e80030038000500cbf053279051db009532502529640500cda5fb1de2c789175e5a0501fe5c0a1bffff05015133d61ae9c6452306eb8f0043ff7218c0e3a700ae38ba2611feb9255d93fe004bb98127aa9ffe00ed45a11defac5621f81305006a7b832d30a3a900591b6c18882307007cbc04004b950b17c50e90007b38bd164142c7cc152990176f5faca78c8a45a7c1");
}

#[test]
fn the_callers_errors() {
    let (tables, _, bytes) = small_stream();
    let mut encoder = StreamEncoder::new(&tables);
    let too_long = Error::StepTooLong { len: 33, max: 32 };
    let mismatch = Error::LengthMismatch {
        n_table_idx: 1,
        n_symbols: 2,
    };
    let no_table = Error::TableIndexOutOfRange {
        table_idx: 2,
        n_tables: 2,
    };
    assert_eq!(encoder.push_step(&[0; 33], &[0; 33]), Err(too_long.clone()));
    assert_eq!(encoder.push_step(&[0], &[0; 2]), Err(mismatch.clone()));
    assert_eq!(encoder.push_step(&[0, 2], &[0; 2]), Err(no_table.clone()));
    assert_eq!(
        encoder.push_bulk(&[2; LANES], &[0; 2]),
        Err(no_table.clone())
    );
    assert_eq!(
        encoder.check_steps(usize::MAX / 2),
        Err(Error::TooManySteps { max: u32::MAX })
    );
    assert_eq!(encoder.n_symbols(), 0);
    assert_eq!(encoder.finish(), [0]);

    let decode_tables = DecodeTables::new(&tables);
    let mut decoder = StreamDecoder::new(&decode_tables, &bytes).unwrap();
    assert_eq!(decoder.decode_step(&[0; 33], &mut [0; 33]), Err(too_long));
    assert_eq!(
        decoder.decode_step(&[0], &mut [0; 2]),
        Err(mismatch.clone())
    );
    assert_eq!(
        decoder.decode_step(&[0, 2], &mut [0; 2]),
        Err(no_table.clone())
    );
    assert_eq!(
        decoder.decode_bulk(&[2; LANES], &mut [0; 2]),
        Err(no_table.clone())
    );
    assert_eq!(decoder.steps_left(), 3);
    assert_eq!(ideal_bits(&tables, &[0], &[0; 2]), Err(mismatch));
    assert_eq!(ideal_bits(&tables, &[2], &[0]), Err(no_table));
    assert_eq!(
        ideal_bits(&tables, &[0, 0, 1], &[0, -1, 4]),
        Ok(1.0 + 2.0 + 8.0 - 56_f64.log2() + 8.0)
    );
}

#[test]
fn the_bytes_errors() {
    let (tables, steps, bytes) = small_stream();
    let tables = DecodeTables::new(&tables);
    #[track_caller]
    fn check(tables: &DecodeTables, bytes: &[u8], steps: &Steps, expected: Error) {
        assert_eq!(decode(tables, bytes, steps).unwrap_err(), expected);
    }
    check(
        &tables,
        &bytes,
        &steps[..2].to_vec(),
        Error::StepsLeft {
            steps_left: 1,
            n_steps: 3,
        },
    );
    let more = [steps.clone(), steps.clone()].concat();
    check(&tables, &bytes, &more, Error::StepsExhausted { n_steps: 3 });
    check(&tables, &[0], &steps, Error::StepsExhausted { n_steps: 0 });
    check(
        &tables,
        &bytes[..bytes.len() - 1],
        &steps,
        Error::InvalidEscape { at: 0 },
    );
    check(
        &tables,
        &[&bytes[..], &[1]].concat(),
        &steps,
        Error::TrailingBytes {
            what: "escapes",
            n_bytes: 1,
        },
    );
    assert_eq!(
        decode_symbols(&tables, &bytes, &[0; 33]).unwrap_err(),
        Error::InvalidHeader {
            what: "number of steps",
            found: 3,
            min: 2,
            max: 2
        }
    );

    // One step in one lane, all of it known: the slot 0xff is the escape's, so 0x180 stands in for its state.
    let one = |words: &[u8]| {
        [
            &[1, 1, 1, (words.len() / 2) as u8, 0x40, 0, 1, 0][..],
            words,
        ]
        .concat()
    };
    let step = vec![(vec![0], vec![0])];
    check(
        &tables,
        &one(&[]),
        &step,
        Error::WordsExhausted { n_words: 0 },
    );
    let expected = STATE_LOW | (1 + 0x9e37 + 0x6a09);
    let end = Error::FinalState {
        lane: 0,
        found: 0x8000 << 16 | 0x0201,
        expected,
    };
    check(&tables, &one(&[1, 2]), &step, end);

    // Two lanes: nothing may be left of their words, and lane 1 has to end in its interval.
    let two = |state: u8, words: &[u8]| {
        [
            &[
                1,
                0,
                2,
                (words.len() / 2) as u8,
                0x40,
                0,
                4,
                0,
                0x40,
                0,
                state,
                0,
            ][..],
            words,
        ]
        .concat()
    };
    let step = vec![(vec![0; 2], vec![0; 2])];
    let lane_0 = Error::FinalState {
        lane: 0,
        found: 0x20000,
        expected: STATE_LOW | ((1 + 2 * 0x6a09) & 0xffff),
    };
    check(&tables, &two(2, &[]), &step, lane_0);
    check(
        &tables,
        &two(4, &[]),
        &step,
        Error::FinalState {
            lane: 1,
            found: 0x20000,
            expected: STATE_LOW,
        },
    );
    check(
        &tables,
        &two(2, &[0, 0]),
        &step,
        Error::WordsLeft { n_words: 1 },
    );
    check(
        &tables,
        &two(2, &[]),
        &vec![(vec![0; 3], vec![0; 3])],
        Error::StepTooWide { len: 3, n_lanes: 2 },
    );
}
