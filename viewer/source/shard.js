// The header of a shard: a safetensors header with the table of nwc in it. docs/FORMAT.md describes both.

/** Longest header that the safetensors library reads. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
const FORMAT_VERSIONS = [1, 2];
const DIGEST_MARK = '"nwc_digest":"';
const DIGEST_DIGITS = 64;

/** An error that names the file. */
class ViewerError extends Error {}

function refuse(file, what) {
  throw new ViewerError(`${visible(file)}: ${what}`);
}

/** The length of the header, from the first eight bytes; `size` is the file's, where it is known. */
function headerLength(file, bytes, size) {
  if (bytes.length < LENGTH_BYTES) refuse(file, `${bytes.length} bytes are no safetensors file`);
  const n = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (n > MAX_HEADER_BYTES)
    refuse(
      file,
      `a header of ${grouped(n)} bytes, at most ${grouped(MAX_HEADER_BYTES)} are allowed: no safetensors file`,
    );
  if (size !== null && LENGTH_BYTES + n > size)
    refuse(file, `a header of ${grouped(n)} bytes in a file of ${grouped(size)}`);
  return n;
}

/** Whether `mark` is in `bytes` at `at`. */
function isAt(bytes, mark, at) {
  for (let i = 0; i < mark.length; i += 1) if (bytes[at + i] !== mark[i]) return false;
  return true;
}

/** Compares the header, its length in front of it, with the digest that is in it. */
function checkDigest(file, bytes) {
  const mark = new TextEncoder().encode(DIGEST_MARK);
  const found = [];
  for (let at = bytes.indexOf(mark[0]); at >= 0; at = bytes.indexOf(mark[0], at + 1)) {
    if (isAt(bytes, mark, at)) found.push(at + mark.length);
  }
  if (found.length !== 1) refuse(file, `${found.length} digests in the header, 1 is allowed`);
  const [at] = found;
  const digits = new TextDecoder().decode(bytes.subarray(at, at + DIGEST_DIGITS));
  const zeroed = bytes.slice();
  zeroed.fill(0x30, at, at + DIGEST_DIGITS);
  if (blake3(zeroed) !== digits) refuse(file, "the header is damaged: its digest is another");
}

/** The sections of the safetensors header, checked to lie one after another, and where the last one ends. */
function sectionsOf(file, header) {
  const sections = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = Array.isArray(entry?.data_offsets) ? entry.data_offsets : [];
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from) {
      refuse(file, `section ${visible(name)} has no place`);
    }
    sections.set(name, { from, to });
  }
  let end = 0;
  const inOrder = [...sections].sort(([, a], [, b]) => a.from - b.from || a.to - b.to);
  for (const [name, { from, to }] of inOrder) {
    if (from !== end)
      refuse(file, `section ${visible(name)} starts at ${from}, not at ${end} where the one before it ends`);
    end = to;
  }
  return { sections, end };
}

function sectionName(version, tensor, role) {
  if (role === "tensor" || (role === "payload" && version >= 2)) return tensor;
  return `${tensor}.nwc.${role}`;
}

/** That the table and the safetensors header speak of the same sections. */
function checkTable(file, table, sections) {
  const left = new Map(sections);
  const take = (name, nBytes) => {
    const place = left.get(name);
    if (place === undefined || place.to - place.from !== nBytes)
      refuse(file, `no section ${visible(name)} of ${nBytes} bytes`);
    left.delete(name);
  };
  for (const codec of table.codecs) take(`nwc.codec.${codec.id}`, codec.bytes);
  for (const record of table.tensors) {
    for (const [role, nBytes] of record.sections ?? []) take(sectionName(table.version, record.name, role), nBytes);
  }
  for (const name of left.keys()) refuse(file, `section ${visible(name)} belongs to no tensor`);
}

/**
 * The table of the shard and its length in bytes, from the file's start; null where it is an ordinary safetensors file.
 *
 * `read(from, to)` gives bytes of the file, `size` is its length, or null where that is not known.
 */
async function readShard(file, read, size) {
  const start = await read(0, LENGTH_BYTES);
  const n = headerLength(file, start, size);
  const bytes = new Uint8Array(LENGTH_BYTES + n);
  bytes.set(start.subarray(0, LENGTH_BYTES));
  bytes.set(await read(LENGTH_BYTES, LENGTH_BYTES + n), LENGTH_BYTES);
  const parse = (text, what) => {
    try {
      return JSON.parse(text());
    } catch (error) {
      return refuse(file, `${what} cannot be read: ${error.message}`);
    }
  };
  const header = parse(
    () => new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(LENGTH_BYTES)),
    "the header",
  );
  const text = header?.__metadata__?.nwc;
  if (typeof text !== "string") return null;
  const table = parse(() => text, "the table of nwc");
  if (!FORMAT_VERSIONS.includes(table?.version)) {
    refuse(file, `version ${visible(table?.version)} of the format; this page reads ${FORMAT_VERSIONS.join(" and ")}`);
  }
  checkDigest(file, bytes);
  if (!Array.isArray(table.tensors) || !Array.isArray(table.codecs)) refuse(file, "the table of nwc lists no tensors");
  const { sections, end } = sectionsOf(file, header);
  checkTable(file, table, sections);
  const nBytes = LENGTH_BYTES + n + end;
  if (size !== null && size !== nBytes)
    refuse(file, `${grouped(size)} bytes long, not ${grouped(nBytes)} as its header says`);
  return { table, nBytes };
}
