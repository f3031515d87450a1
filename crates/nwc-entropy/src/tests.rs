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
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip((tables, steps) in arbitrary_steps()) {
        let bytes = encode(&tables, &steps);
        let decoded = decode(&DecodeTables::new(&tables), &bytes, &steps);
        prop_assert_eq!(decoded, Ok(steps.into_iter().map(|step| step.1).collect()));
    }

    #[test]
    fn all_backends_agree((tables, steps) in arbitrary_steps(), flip in any::<(prop::sample::Index, u8)>()) {
        let mut bytes = encode(&tables, &steps);
        for backend in [Backend::Avx2, Backend::Avx512] {
            prop_assert_eq!(&encode_by(backend, &tables, &steps), &bytes);
        }
        *flip.0.get_mut(&mut bytes) ^= flip.1;
        let decode_by = |backend| decode(&DecodeTables::with_backend(&tables, backend), &bytes, &steps);
        let expected = decode_by(Backend::Portable);
        for backend in [Backend::Avx2, Backend::Avx512] {
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
        for backend in [Backend::Portable, Backend::Avx2, Backend::Avx512] {
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
