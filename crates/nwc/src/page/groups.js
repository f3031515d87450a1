// What a checkpoint's tensors have in common: layer, kind, way of coding.

/** The ways of coding, in the order of legends, with their names. */
const CODINGS = {
  coded: "coded",
  packed: "packed without loss",
  kept: "kept as they are",
  tied: "tied to another",
};

/** Which of [`CODINGS`] a tensor has. */
function codingOf(tensor) {
  if (tensor.codec !== null && tensor.codec !== undefined) return "coded";
  if (tensor.coding.startsWith("tied to ")) return "tied";
  return tensor.coding === "packed" ? "packed" : "kept";
}

const IS_NUMBER = /^\d{1,9}$/;

/**
 * Where a tensor is in the model, told by its name: the first part that is a number is its layer, what is before it the
 * stack of layers, and the name with `*` for numbers its kind.
 */
function placeOf(name) {
  const stem = name.endsWith(".weight") ? name.slice(0, -".weight".length) : name;
  const parts = stem.split(/[./]/);
  const at = parts.findIndex((part) => IS_NUMBER.test(part));
  const star = (list) => list.map((part) => (IS_NUMBER.test(part) ? "*" : part)).join(".");
  if (at < 0) return { stack: null, layer: null, kind: stem, short: stem };
  return {
    stack: parts.slice(0, at).join("."),
    layer: Number(parts[at]),
    kind: star(parts),
    short: star(parts.slice(at + 1)) || star(parts),
  };
}

/** Sums over tensors; those that are tied store nothing and count nothing. */
class Sums {
  constructor() {
    this.nTensors = 0;
    this.nWeights = 0;
    this.nBytes = 0;
    this.nCoded = 0;
    this.squares = 0;
  }

  add({ tensor, coding }) {
    this.nTensors += 1;
    if (coding === "tied") return;
    this.nWeights += tensor.n_weights;
    this.nBytes += tensor.n_bytes;
    if (coding === "coded" && tensor.nmse !== null && tensor.nmse !== undefined) {
      this.nCoded += tensor.n_weights;
      this.squares += tensor.nmse * tensor.n_weights;
    }
  }

  /** Stored bits a weight; null where nothing is stored. */
  get bits() {
    return this.nWeights > 0 ? (8 * this.nBytes) / this.nWeights : null;
  }

  /** Mean nMSE of the coded weights; null where none has one. */
  get nmse() {
    return this.nCoded > 0 ? this.squares / this.nCoded : null;
  }
}

/** Tensors with where they are and how they are coded, in file order. */
function rowsOf(inspection) {
  return inspection.tensors.map((tensor, idx) => ({
    idx,
    tensor,
    coding: codingOf(tensor),
    place: placeOf(tensor.name),
  }));
}

/** Rows by a key, in the order of first appearance: `{key, rows, sums}`. */
function groupedBy(rows, keyOf) {
  const groups = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    if (key === null || key === undefined) continue;
    if (!groups.has(key)) groups.set(key, { key, rows: [], sums: new Sums() });
    const group = groups.get(key);
    group.rows.push(row);
    group.sums.add(row);
  }
  return [...groups.values()];
}

const byBytes = (a, b) => b.sums.nBytes - a.sums.nBytes || (a.key < b.key ? -1 : 1);

/** The largest `n` groups, and one of all others where there are more. */
function largest(groups, n, noun) {
  const sorted = [...groups].sort(byBytes);
  if (sorted.length <= n) return sorted;
  const rest = sorted.slice(n - 1);
  const [merged] = groupedBy(
    rest.flatMap((group) => group.rows),
    () => "",
  );
  merged.label = `${grouped(rest.length)} other ${noun}`;
  return [...sorted.slice(0, n - 1), merged];
}

/** The kinds of tensors, `n` at most; where there is one stack of layers, its name is left out of theirs. */
function kindsOf(rows, n) {
  const nStacks = new Set(rows.map((row) => row.place.stack).filter((stack) => stack !== null)).size;
  const groups = groupedBy(rows, (row) => row.place.kind);
  for (const group of groups) group.label = nStacks === 1 ? group.rows[0].place.short : group.key;
  return largest(groups, n, "kinds");
}

/** Stacks of two layers or more, largest first, each with its layers in order. */
function stacksOf(rows) {
  const stacks = groupedBy(rows, (row) => row.place.stack);
  for (const stack of stacks) {
    stack.layers = groupedBy(stack.rows, (row) => row.place.layer).sort((a, b) => a.key - b.key);
  }
  return stacks.filter((stack) => stack.layers.length > 1).sort(byBytes);
}

/** Neighbouring layers taken together, so that there are `n` at most. */
function binned(layers, n) {
  const size = Math.ceil(layers.length / n);
  const bins = [];
  for (let at = 0; at < layers.length; at += size) {
    const part = layers.slice(at, at + size);
    const sums = new Sums();
    part.forEach((layer) => layer.rows.forEach((row) => sums.add(row)));
    const [first, last] = [part[0].key, part[part.length - 1].key];
    bins.push({
      label: first === last ? `layer ${first}` : `layers ${first} to ${last}`,
      first,
      sums,
      layers: part.map((layer) => layer.key),
    });
  }
  return bins;
}
