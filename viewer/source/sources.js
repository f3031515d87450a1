// Where a checkpoint's files are: dropped or chosen files, or a folder at an address.

const INDEX_FILE = "model.safetensors.index.json";
const SINGLE_FILE = "model.safetensors";
const SUFFIX = ".safetensors";

/** Files by name; only the bytes that are asked for are read. */
function fileSource(files) {
  return {
    names: () => [...files.keys()].filter((name) => name.endsWith(SUFFIX)).sort(),
    text: async (name) => (files.has(name) ? files.get(name).text() : null),
    size: (name) => files.get(name)?.size ?? null,
    read: async (name, from, to) => {
      if (!files.has(name)) refuse(name, "the index names this file, and it is not there");
      return new Uint8Array(await files.get(name).slice(from, to).arrayBuffer());
    },
  };
}

/** A folder at an address; an address of a page of the hub becomes that of its files. */
function folderAddress(text) {
  const url = new URL(text, document.baseURI);
  if (!/^https?:$/.test(url.protocol))
    throw new ViewerError(`${visible(text)}: an address starts with https:// or http://`);
  const parts = url.pathname.split("/").filter(Boolean);
  if (parts.length === 2 && /(^|\.)huggingface\.co$/.test(url.hostname)) parts.push("resolve", "main");
  if (parts[2] === "tree" || parts[2] === "blob") parts[2] = "resolve";
  if (parts.length > 0 && /\.(safetensors|json|html)$/.test(parts[parts.length - 1])) parts.pop();
  url.pathname = parts.map((part) => `/${part}`).join("") + "/";
  [url.search, url.hash] = ["", ""];
  return url;
}

async function fetched(url, from, to) {
  const headers = to === undefined ? {} : { Range: `bytes=${from}-${to - 1}` };
  let response;
  try {
    response = await fetch(url, { headers });
  } catch {
    throw new ViewerError(
      `${visible(url)}: no answer; the server is not there, or does not allow other pages to read it`,
    );
  }
  if (response.status === 404) return null;
  if (!response.ok) throw new ViewerError(`${visible(url)}: status ${response.status} ${visible(response.statusText)}`);
  return response;
}

/** Bytes of a response. A server that knows no ranges sends the whole file, which is read up to `to` only. */
async function partOf(response, from, to) {
  if (response.status === 206) return new Uint8Array(await response.arrayBuffer());
  const bytes = new Uint8Array(to);
  const reader = response.body.getReader();
  let n = 0;
  while (n < to) {
    const { done, value } = await reader.read();
    if (done) break;
    const part = value.subarray(0, to - n);
    bytes.set(part, n);
    n += part.length;
  }
  await reader.cancel();
  return bytes.subarray(from, n);
}

/** A folder on a server, by range requests. */
function urlSource(folder) {
  const at = (name) => new URL(encodeURIComponent(name), folder);
  return {
    names: () => null,
    text: async (name) => (await fetched(at(name)))?.text() ?? null,
    size: () => null,
    read: async (name, from, to) => {
      if (from === to) return new Uint8Array();
      const response = await fetched(at(name), from, to);
      if (response === null) throw new ViewerError(`${visible(at(name))}: there is no such file`);
      return partOf(response, from, to);
    },
  };
}

/** Names of the shards that the index lists; they must be plain names. */
function filesOfIndex(text) {
  let files;
  try {
    files = [...new Set(Object.values(JSON.parse(text).weight_map))].sort();
  } catch (error) {
    return refuse(INDEX_FILE, `cannot be read: ${error.message}`);
  }
  const isPlain = (name) => typeof name === "string" && name.endsWith(SUFFIX) && !/[/\\:]/.test(name);
  for (const name of files) if (!isPlain(name)) refuse(INDEX_FILE, `file name ${visible(name)} is no name of a shard`);
  return files;
}

/** Inspects a checkpoint from the headers of its shards alone; `say` hears how far it is. */
async function inspect(source, say = () => {}) {
  const index = await source.text(INDEX_FILE);
  const listed = index === null ? [] : filesOfIndex(index);
  const present = source.names();
  const files = [...new Set([...listed, ...(present ?? (listed.length > 0 ? [] : [SINGLE_FILE]))])];
  const shards = [];
  for (const [idx, file] of files.entries()) {
    say(`Reading the header of ${visible(file)}, ${idx + 1} of ${files.length}`);
    const read = async (from, to) => {
      const bytes = await source.read(file, from, to);
      if (bytes.length !== to - from) refuse(file, `ends after ${from + bytes.length} bytes, within its header`);
      return bytes;
    };
    const shard = await readShard(file, read, source.size(file));
    if (shard !== null) shards.push({ file, ...shard });
  }
  if (files.length === 0) throw new ViewerError("There is no .safetensors file in this folder.");
  if (shards.length === 0)
    throw new ViewerError(`${visible(files[0])} is an ordinary safetensors file: not compressed by nwc.`);
  return inspectionOf(shards, index === null ? 0 : new TextEncoder().encode(index).length);
}
