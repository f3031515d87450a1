// BLAKE3 with 256 bits, as its specification describes it: the digest of a header.

const BLAKE3_IV = Uint32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);
const BLAKE3_ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
/** Which word of the block each of the two inputs of each of the eight steps of each of the seven rounds is. */
const BLAKE3_SCHEDULE = new Uint8Array(7 * 16);
for (let i = 0; i < BLAKE3_SCHEDULE.length; i += 1) {
  BLAKE3_SCHEDULE[i] = i < 16 ? i : BLAKE3_SCHEDULE[i - 16 - (i % 16) + BLAKE3_ORDER[i % 16]];
}
const [CHUNK_START, CHUNK_END, PARENT, ROOT] = [1, 2, 4, 8];
const [CHUNK_BYTES, BLOCK_BYTES] = [1024, 64];

const BLAKE3_STATE = new Uint32Array(16);

/** Mixes two words of the block into four words of the state. */
function blake3Mix(v, a, b, c, d, x, y) {
  v[a] += v[b] + x;
  let word = v[d] ^ v[a];
  v[d] = (word >>> 16) | (word << 16);
  v[c] += v[d];
  word = v[b] ^ v[c];
  v[b] = (word >>> 12) | (word << 20);
  v[a] += v[b] + y;
  word = v[d] ^ v[a];
  v[d] = (word >>> 8) | (word << 24);
  v[c] += v[d];
  word = v[b] ^ v[c];
  v[b] = (word >>> 7) | (word << 25);
}

/** The first eight words of the compression function's output; `block` is sixteen words. */
function blake3Compressed(chaining, block, counter, length, flags) {
  const [v, order] = [BLAKE3_STATE, BLAKE3_SCHEDULE];
  v.set(chaining);
  for (let i = 0; i < 4; i += 1) v[8 + i] = BLAKE3_IV[i];
  v[12] = counter;
  v[13] = Math.floor(counter / 2 ** 32);
  v[14] = length;
  v[15] = flags;
  for (let at = 0; at < order.length; at += 16) {
    const m = (i) => block[order[at + i]];
    blake3Mix(v, 0, 4, 8, 12, m(0), m(1));
    blake3Mix(v, 1, 5, 9, 13, m(2), m(3));
    blake3Mix(v, 2, 6, 10, 14, m(4), m(5));
    blake3Mix(v, 3, 7, 11, 15, m(6), m(7));
    blake3Mix(v, 0, 5, 10, 15, m(8), m(9));
    blake3Mix(v, 1, 6, 11, 12, m(10), m(11));
    blake3Mix(v, 2, 7, 8, 13, m(12), m(13));
    blake3Mix(v, 3, 4, 9, 14, m(14), m(15));
  }
  const out = new Uint32Array(8);
  for (let i = 0; i < 8; i += 1) out[i] = v[i] ^ v[8 + i];
  return out;
}

/** The last compression of a chunk, not made yet: the root's has a flag of its own. */
function blake3Chunk(bytes, counter) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let chaining = BLAKE3_IV;
  for (let at = 0; ; at += BLOCK_BYTES) {
    const length = Math.min(BLOCK_BYTES, bytes.length - at);
    const block = new Uint32Array(16);
    for (let i = 0; i < length; i += 1) {
      if (i % 4 === 0 && i + 4 <= length) {
        block[i / 4] = view.getUint32(at + i, true);
        i += 3;
      } else block[i >> 2] |= bytes[at + i] << (8 * (i % 4));
    }
    const isLast = at + BLOCK_BYTES >= bytes.length;
    const flags = (at === 0 ? CHUNK_START : 0) | (isLast ? CHUNK_END : 0);
    if (isLast) return { chaining, block, counter, length, flags };
    chaining = blake3Compressed(chaining, block, counter, length, flags);
  }
}

function blake3Parent(left, right) {
  return {
    chaining: BLAKE3_IV,
    block: Uint32Array.from([...left, ...right]),
    counter: 0,
    length: BLOCK_BYTES,
    flags: PARENT,
  };
}

function blake3Finished({ chaining, block, counter, length, flags }, more) {
  return blake3Compressed(chaining, block, counter, length, flags | more);
}

/** The digest of `bytes` in lower-case hexadecimal digits. */
function blake3(bytes) {
  const left = [];
  const nChunks = Math.max(Math.ceil(bytes.length / CHUNK_BYTES), 1);
  const chunk = (idx) => blake3Chunk(bytes.subarray(idx * CHUNK_BYTES, (idx + 1) * CHUNK_BYTES), idx);
  for (let idx = 0; idx + 1 < nChunks; idx += 1) {
    let node = blake3Finished(chunk(idx), 0);
    // A tree is whole whenever the number of chunks ends with a zero bit; the last chunk is never merged here.
    for (let n = idx + 1; n % 2 === 0; n /= 2) node = blake3Finished(blake3Parent(left.pop(), node), 0);
    left.push(node);
  }
  let last = chunk(nChunks - 1);
  while (left.length > 0) last = blake3Parent(left.pop(), blake3Finished(last, 0));
  const words = blake3Finished(last, ROOT);
  const view = new DataView(new ArrayBuffer(32));
  words.forEach((word, i) => view.setUint32(4 * i, word, true));
  return Array.from(new Uint8Array(view.buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
