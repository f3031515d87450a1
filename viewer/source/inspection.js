// An inspection from the tables of all shards: the sums of crates/nwc/src/report.rs again, in the same order.

/** Bytes an element, by the names of safetensors; the rest takes one. */
const DTYPE_BYTES = { I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, C64: 8, F64: 8, I64: 8, U64: 8 };

/** Whether the matrix is a linear layer within a block. */
function isLinear(name) {
  const stem = name.endsWith(".weight") ? name.slice(0, -".weight".length) : name;
  const parts = stem.split(/[./]/);
  const last = parts[parts.length - 1];
  const isTopLevel = parts.length === 1 || (parts.length === 2 && TOP_LEVELS.has(parts[0]));
  const isHead = HEADS.has(last) || stem.endsWith("predictions.decoder") || (isTopLevel && TOP_LEVEL_HEADS.has(last));
  return !isHead && !EMBEDDINGS.has(last);
}

/** How a record says that its tensor is stored: words, codec and parameters; names are those of the folder `prefix`. */
function codingOfRecord({ coding }, prefix) {
  if (coding === "raw" || coding === "lossless") return { coding: "lossless", codec: null, parameters: {} };
  if (coding?.coded) {
    return {
      coding: String(coding.coded.family),
      codec: String(coding.coded.codec),
      parameters: coding.coded.parameters ?? {},
    };
  }
  if (coding?.packed) return { coding: "packed", codec: null, parameters: {} };
  if (coding?.tied_to) return { coding: `tied to ${prefix}${coding.tied_to.name}`, codec: null, parameters: {} };
  throw new ViewerError(`tensor ${visible(coding)}: a coding that this page does not know`);
}

function summaryOf(record, prefix) {
  const nWeights = record.shape.reduce((product, n) => product * n, 1);
  const nBytes = (record.sections ?? []).reduce((sum, [, bytes]) => sum + bytes, 0);
  const { coding, codec, parameters } = codingOfRecord(record, prefix);
  const perWeight = (bits) => bits / Math.max(nWeights, 1);
  return {
    name: prefix + record.name,
    shape: record.shape,
    dtype: record.dtype,
    coding,
    codec,
    n_weights: nWeights,
    n_bytes: nBytes,
    bpw: perWeight(8 * nBytes),
    bpw_estimated: record.bits === undefined ? null : perWeight(record.bits),
    nmse: record.nmse ?? null,
    nmse_normalized: parameters.nmse_normalized ?? null,
    reason: record.reason ?? null,
  };
}

/** The sums; `records` and `summaries` go together. */
function totalsOf(records, summaries, codecBytes, totalBytes) {
  const sums = {
    params: 0,
    coded: 0,
    linear: 0,
    codedBytes: 0,
    linearBytes: 0,
    payloadBytes: 0,
    losslessBytes: 0,
    originalBytes: 0,
    bits: 0,
    nmse: 0,
    normalized: 0,
  };
  records.forEach((record, idx) => {
    if (record.coding?.tied_to) return;
    const summary = summaries[idx];
    const n = summary.n_weights;
    sums.params += n;
    sums.originalBytes += n * (DTYPE_BYTES[record.dtype] ?? 1);
    if (!record.coding?.coded) {
      sums.losslessBytes += summary.n_bytes;
      return;
    }
    sums.coded += n;
    sums.codedBytes += summary.n_bytes;
    sums.payloadBytes += (record.sections ?? []).reduce(
      (sum, [role, bytes]) => sum + (role === "payload" ? bytes : 0),
      0,
    );
    sums.bits += record.bits ?? 0;
    sums.nmse += (summary.nmse ?? 0) * n;
    if (isLinear(record.name)) {
      sums.linear += n;
      sums.linearBytes += summary.n_bytes;
      sums.normalized += (summary.nmse_normalized ?? 0) * n;
    }
  });
  const ratio = (a, b) => (b > 0 ? a / b : 0);
  return {
    n_params: sums.params,
    n_coded: sums.coded,
    coded_bytes: sums.codedBytes,
    lossless_bytes: sums.losslessBytes,
    codec_bytes: codecBytes,
    total_bytes: totalBytes,
    original_bytes: sums.originalBytes,
    bpw_estimated: ratio(sums.bits, sums.coded),
    bpw_payload: ratio(8 * sums.codedBytes, sums.coded),
    bpw_payload_linear: ratio(8 * sums.linearBytes, sums.linear),
    bpw_total: ratio(8 * totalBytes, sums.params),
    nmse: ratio(sums.nmse, sums.coded),
    nmse_normalized_linear: ratio(sums.normalized, sums.linear),
    payload_overhead: sums.bits > 0 ? (8 * sums.payloadBytes) / sums.bits - 1 : 0,
  };
}

/** Refuses shards that are not one whole set. */
function checkSet(shards) {
  const [{ file, table: first }] = shards;
  shards.forEach(({ file: other, table }, idx) => {
    if (table.fingerprint !== first.fingerprint || table.version !== first.version) {
      refuse(other, `a shard of another model than ${visible(file)}`);
    }
    if (table.n_shards !== shards.length || table.shard_idx !== idx) {
      refuse(other, `shard ${visible(table.shard_idx)} of ${visible(table.n_shards)}, and ${shards.length} are here`);
    }
  });
}

/** The inspection of `folders`, each `{prefix, shards, indexBytes}` with its shards `{file, table, nBytes}`; the first is the root. */
function inspectionOf(folders) {
  const [records, summaries, codecs] = [[], [], []];
  // As lists: a name may be __proto__.
  const [files, provenance] = [[], []];
  let totalBytes = 0;
  for (const { prefix, shards, indexBytes } of folders) {
    shards.sort((a, b) => a.table.shard_idx - b.table.shard_idx);
    checkSet(shards);
    totalBytes += shards.reduce((sum, { nBytes }) => sum + nBytes, indexBytes);
    for (const { table } of shards) {
      records.push(...table.tensors);
      for (const record of table.tensors) summaries.push(summaryOf(record, prefix));
      codecs.push(...table.codecs);
      for (const [path, digest] of Object.entries(table.files ?? {})) files.push([prefix + path, digest]);
      if (prefix === "") provenance.push(...Object.entries(table.provenance ?? {}));
    }
  }
  const { version, generator, fingerprint } = folders[0].shards[0].table;
  const codecBytes = codecs.reduce((sum, codec) => sum + codec.bytes, 0);
  return {
    format_version: version,
    generator,
    fingerprint,
    tensors: summaries,
    files: Object.fromEntries(files),
    provenance: Object.fromEntries(provenance),
    totals: totalsOf(records, summaries, codecBytes, totalBytes),
  };
}
