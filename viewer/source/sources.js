// Where a checkpoint's files are: dropped or chosen files, or a folder at an address.

const INDEX_FILE = "model.safetensors.index.json";
/** What a shard without an index is called: a model's, a pipeline part's, and that of a folder without weights. */
const SINGLE_FILES = ["model.safetensors", "diffusion_pytorch_model.safetensors", "nwc-folder.safetensors"];
/** More checkpoints than this in the folders below are no pipeline. */
const MAX_CHECKPOINTS = 256;
const SUFFIX = ".safetensors";

/** Files by path, those of the folder `prefix`; only the bytes that are asked for are read. */
function fileSource(files, prefix = "") {
  const at = (name) => files.get(prefix + name);
  const inside = () => [...files.keys()].filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
  return {
    lists: true,
    names: async () => inside().filter((name) => name.endsWith(SUFFIX) && !name.includes("/")).sort(),
    text: async (name) => at(name)?.text() ?? null,
    size: (name) => at(name)?.size ?? null,
    read: async (name, from, to) => {
      if (!at(name)) refuse(name, "the index names this file, and it is not there");
      return new Uint8Array(await at(name).slice(from, to).arrayBuffer());
    },
    below: (path) => fileSource(files, `${prefix}${path}/`),
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
    lists: false,
    // A server lists nothing: without an index there is one shard.
    names: async () => {
      for (const name of SINGLE_FILES) if ((await fetched(at(name), 0, 1)) !== null) return [name];
      throw new ViewerError(`${visible(at(SINGLE_FILES[0]))}: there is no such file`);
    },
    text: async (name) => (await fetched(at(name)))?.text() ?? null,
    size: () => null,
    read: async (name, from, to) => {
      if (from === to) return new Uint8Array();
      const response = await fetched(at(name), from, to);
      if (response === null) throw new ViewerError(`${visible(at(name))}: there is no such file`);
      return partOf(response, from, to);
    },
    below: (path) => urlSource(new URL(`${path.split("/").map(encodeURIComponent).join("/")}/`, folder)),
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

/** The shards of one folder, `prefix` in messages, and the bytes of its index. */
async function folderOf(source, prefix, say) {
  const index = await source.text(INDEX_FILE);
  const listed = index === null ? [] : filesOfIndex(index);
  const present = listed.length > 0 && !source.lists ? [] : await source.names();
  const files = [...new Set([...listed, ...present])];
  const shards = [];
  for (const [idx, file] of files.entries()) {
    say(`Reading the header of ${visible(prefix + file)}, ${idx + 1} of ${files.length}`);
    const read = async (from, to) => {
      const bytes = await source.read(file, from, to);
      if (bytes.length !== to - from) refuse(prefix + file, `ends after ${from + bytes.length} bytes, within its header`);
      return bytes;
    };
    const shard = await readShard(prefix + file, read, source.size(file));
    if (shard !== null) shards.push({ file: prefix + file, ...shard });
  }
  if (files.length === 0) throw new ViewerError(`There is no .safetensors file in ${prefix === "" ? "this folder" : visible(prefix)}.`);
  if (shards.length === 0)
    throw new ViewerError(`${visible(prefix + files[0])} is an ordinary safetensors file: not compressed by nwc.`);
  return { prefix, shards, indexBytes: index === null ? 0 : new TextEncoder().encode(index).length };
}

/** The checkpoints that a folder lists below itself; they must be plain paths. */
function checkpointsOf({ shards }) {
  const isPlain = (path) =>
    typeof path === "string" && !/[\\:]/.test(path) && path.split("/").every((part) => !["", ".", ".."].includes(part));
  return shards.flatMap(({ file, table }) => {
    const paths = table.checkpoints ?? [];
    for (const path of paths) if (!isPlain(path)) refuse(file, `${visible(path)} is no path below the folder`);
    return paths;
  });
}

/** Inspects a checkpoint, and those in folders below, from the headers of the shards; `say` hears how far it is. */
async function inspect(source, say = () => {}) {
  const folders = [];
  const next = [["", source]];
  while (next.length > 0) {
    const [prefix, at] = next.shift();
    const folder = await folderOf(at, prefix, say);
    folders.push(folder);
    const below = checkpointsOf(folder).map((path) => [`${prefix}${path}/`, at.below(path)]);
    next.unshift(...below);
    if (folders.length + next.length > MAX_CHECKPOINTS)
      throw new ViewerError(`More than ${MAX_CHECKPOINTS} checkpoints lie below this folder.`);
  }
  return inspectionOf(folders);
}
