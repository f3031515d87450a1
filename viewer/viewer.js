// Made by `cargo xtask viewer` from crates/nwc/src/page and viewer/source: change it there.
"use strict";
(() => {
// Elements and numbers as text. Names come from files of strangers: they reach the page as text, never as markup.

/** An HTML element with attributes and children; a string child becomes a text node, null is left out. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** A name with characters that cannot be seen, or that turn others around, as their code points. */
function visible(name) {
  return String(name).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** A name in an element of its own, which a text from right to left does not leave. */
function nameElement(name, attributes = {}) {
  return element("bdi", attributes, visible(name));
}

/** A text cut to `n` characters. */
function cut(text, n) {
  if (text.length <= n) return text;
  return n < 2 ? "" : text.slice(0, n - 1) + "…";
}

/** Digits in groups of three: 1 234 567. */
function grouped(n) {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function scaled(n, step, units) {
  let idx = 0;
  while (Math.abs(n) >= step * 0.9995 && idx + 1 < units.length) {
    n /= step;
    idx += 1;
  }
  const text = idx === 0 ? String(Math.round(n)) : n.toPrecision(3);
  return `${text}${units[idx] ? "\u00a0" + units[idx] : ""}`;
}

/** Bytes in decimal units: 1.23 MB. */
function bytesText(n) {
  return scaled(n, 1000, ["bytes", "kB", "MB", "GB", "TB", "PB"]);
}

/** A count in words: 1.24 billion. */
function countText(n) {
  return scaled(n, 1000, ["", "thousand", "million", "billion", "trillion"]);
}

/** Bits per weight: two digits after the point. */
function bitsText(bits) {
  return bits === null ? "–" : bits.toFixed(2);
}

/** An error with three digits that count; none is a dash. */
function errorText(nmse) {
  if (nmse === null || nmse === undefined) return "–";
  if (nmse === 0) return "0";
  return nmse >= 1e-4 && nmse < 100 ? nmse.toPrecision(3) : nmse.toExponential(2);
}

/** A part in percent; what is there is never 0 %, and what is not all never 100 %. */
function percentText(part, whole) {
  if (!(whole > 0) || part === 0) return "0\u00a0%";
  const percent = (100 * part) / whole;
  if (percent < 0.1) return "<\u00a00.1\u00a0%";
  return part < whole && percent >= 99.95 ? ">\u00a099.9\u00a0%" : `${percent.toFixed(1)}\u00a0%`;
}

/** `1 tensor`, `2 tensors`. */
function counted(n, noun) {
  return `${grouped(n)}\u00a0${noun}${n === 1 ? "" : "s"}`;
}
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
// Bars: by layer as a chart with axes, by kind as bars in the rows of a table.

const CHART_HEIGHT = 190;
const MARGIN = { top: 10, right: 4, bottom: 24, left: 52 };
const MAX_BARS = 160;
const MAX_STACKS = 6;

/** Round steps from 0 that reach `max`, about four of them. */
function ticksTo(max) {
  if (!(max > 0)) return [0];
  const rough = max / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = 0; (i - 1) * step < max * 0.999; i += 1) ticks.push(i * step);
  return ticks;
}

const tickText = (value) =>
  value === 0 ? "0" : value >= 1e-4 ? String(Number(value.toPrecision(3))) : value.toExponential(0);

/** A chart of one value a bin, drawn for a width in pixels; `text` writes a value. */
function barChart(title, bins, valueOf, text, width) {
  const values = bins.map((bin) => valueOf(bin.sums));
  const max = values.reduce((a, b) => Math.max(a, b ?? 0), 0);
  const ticks = ticksTo(max);
  const top = ticks[ticks.length - 1] || 1;
  const inner = { w: Math.max(width - MARGIN.left - MARGIN.right, 10), h: CHART_HEIGHT - MARGIN.top - MARGIN.bottom };
  const y = (value) => MARGIN.top + inner.h * (1 - value / top);
  const slot = inner.w / bins.length;
  const gap = slot > 4 ? Math.min(slot * 0.25, 6) : 0.3;
  const known = values.filter((value) => value !== null);
  const range = known.length ? `${text(Math.min(...known))} to ${text(max)}` : "nothing measured";
  const svg = drawn("svg", {
    class: "chart",
    role: "img",
    width,
    height: CHART_HEIGHT,
    viewBox: `0 0 ${width} ${CHART_HEIGHT}`,
    "aria-label": `${title}: ${bins.length} bars, ${range}`,
  });
  for (const tick of ticks) {
    svg.append(
      drawn("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
      drawn("text", { class: "tick", x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)),
    );
  }
  const every = Math.ceil((bins.length * 34) / inner.w);
  bins.forEach((bin, idx) => {
    const x = MARGIN.left + idx * slot;
    const value = values[idx];
    if (value !== null) {
      const place = { x: x + gap / 2, width: Math.max(slot - gap, 0.5), y: y(value), height: y(0) - y(value) };
      svg.append(drawn("rect", { class: "bar", rx: Math.min(1.5, slot / 4), ...place }));
    }
    const said = drawn("title", {}, `${bin.label}: ${value === null ? "nothing coded" : text(value)}`);
    svg.append(drawn("rect", { class: "hit", x, width: slot, y: MARGIN.top, height: inner.h }, said));
    if (idx % every === 0) {
      const at = { x: x + slot / 2, y: CHART_HEIGHT - 6, "text-anchor": "middle" };
      svg.append(drawn("text", { class: "tick", ...at }, String(bin.first)));
    }
  });
  return svg;
}

/** Draws now and whenever the width of the place changes. */
function drawnToWidth(draw) {
  const place = element("div", { class: "canvas" });
  let last = 0;
  const update = () => {
    const width = Math.floor(place.clientWidth);
    if (width > 0 && width !== last) {
      last = width;
      place.replaceChildren(draw(width));
    }
  };
  if (typeof ResizeObserver === "function") new ResizeObserver(() => requestAnimationFrame(update)).observe(place);
  requestAnimationFrame(update);
  return place;
}

function figure(caption, content) {
  return element("figure", {}, element("figcaption", {}, caption), content);
}

/** Bits and error of each layer, a pair of charts for every stack. */
function layerSection(rows) {
  const stacks = stacksOf(rows);
  if (stacks.length === 0) return null;
  const parts = stacks.slice(0, MAX_STACKS).map((stack) => {
    const bins = binned(stack.layers, MAX_BARS);
    const name = stack.key || "layers";
    const chart = (title, valueOf, text) =>
      figure(
        title,
        drawnToWidth((width) => barChart(`${title} of ${visible(name)}`, bins, valueOf, text, width)),
      );
    const head = ["Layer", "Weights", "Stored", "Bits per weight", "nMSE"];
    const body = bins.map(({ label, sums }) => [
      label.replace(/^layers? /, ""),
      countText(sums.nWeights),
      bytesText(sums.nBytes),
      bitsText(sums.bits),
      errorText(sums.nmse),
    ]);
    return element(
      "div",
      { class: "stack" },
      element("h3", {}, nameElement(name, { class: "name" }), ` · ${counted(stack.layers.length, "layer")}`),
      element(
        "div",
        { class: "pair" },
        chart("Stored bits per weight", (sums) => sums.bits, bitsText),
        chart("Error (nMSE) of coded weights", (sums) => sums.nmse, errorText),
      ),
      heatmaps(stack, bins),
      element("details", {}, element("summary", {}, "As a table"), plainTable(head, body)),
    );
  });
  if (stacks.length > MAX_STACKS) {
    parts.push(
      element("p", { class: "note" }, `${counted(stacks.length - MAX_STACKS, "smaller stack")} of layers not drawn.`),
    );
  }
  return section("layers", "By layer", parts);
}

/** A table whose first column is text and whose others are numbers. */
function plainTable(head, body) {
  const cell = (tag, idx, text) =>
    element(tag, { class: idx > 0 ? "number" : null, scope: tag === "th" ? "col" : null }, text);
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          head.map((text, idx) => cell("th", idx, text)),
        ),
      ),
      element(
        "tbody",
        {},
        body.map((row) =>
          element(
            "tr",
            {},
            row.map((text, idx) => cell("td", idx, text)),
          ),
        ),
      ),
    ),
  );
}

const MAX_KINDS = 40;

/** Bits and error of each kind of tensor, as bars beside the numbers. */
function kindSection(rows) {
  if (rows.length === 0) return null;
  const kinds = kindsOf(rows, MAX_KINDS);
  const maxOf = (valueOf) => kinds.reduce((max, kind) => Math.max(max, valueOf(kind.sums) ?? 0), 0);
  const [maxBits, maxNmse] = [maxOf((sums) => sums.bits), maxOf((sums) => sums.nmse)];
  const bar = (value, max, text, coding) =>
    element(
      "td",
      { class: "number measured" },
      element("span", {}, text(value)),
      drawn(
        "svg",
        { class: "inline", width: 110, height: 10, "aria-hidden": "true" },
        drawn("rect", { class: "track", width: 110, height: 10, rx: 2 }),
        value > 0 && max > 0
          ? drawn("rect", { class: `bar ${coding}`, width: Math.max((110 * value) / max, 1), height: 10, rx: 2 })
          : null,
      ),
    );
  const head = [
    ["Kind of tensor", null],
    ["Tensors", "number"],
    ["Weights", "number"],
    ["Stored", "number"],
    ["Bits per weight", "number"],
    ["nMSE", "number"],
  ];
  return section("kinds", "By kind of tensor", [
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        { class: "kinds" },
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            head.map(([text, type]) => element("th", { scope: "col", class: type }, text)),
          ),
        ),
        element(
          "tbody",
          {},
          kinds.map(({ label, sums, rows: members }) =>
            element(
              "tr",
              {},
              element("th", { scope: "row" }, nameElement(label, { class: "name" })),
              element("td", { class: "number" }, grouped(sums.nTensors)),
              element("td", { class: "number" }, countText(sums.nWeights)),
              element("td", { class: "number" }, bytesText(sums.nBytes)),
              bar(sums.bits, maxBits, bitsText, members[0].coding),
              bar(sums.nmse, maxNmse, errorText, "coded"),
            ),
          ),
        ),
      ),
    ),
  ]);
}
// Layers against kinds: how bits and error are shared out among the matrices of a stack.

const MAX_HEAT_KINDS = 24;
const CELL_HEIGHT = 18;
/** How strong the smallest value is drawn; the largest is 1. */
const FAINTEST = 0.12;

/** Kinds of the coded tensors of a stack, largest first, with the sums of each in each bin of layers. */
function heatRows(stack, bins) {
  const binOf = new Map(bins.flatMap((bin, idx) => bin.layers.map((layer) => [layer, idx])));
  const coded = stack.rows.filter((row) => row.coding === "coded");
  const kinds = groupedBy(coded, (row) => row.place.short).sort(byBytes);
  return kinds.slice(0, MAX_HEAT_KINDS).map((kind) => {
    const cells = bins.map(() => new Sums());
    kind.rows.forEach((row) => cells[binOf.get(row.place.layer)].add(row));
    return { label: kind.key, cells };
  });
}

/** A map of one value, drawn for a width in pixels: a row for each kind, a column for each layer. */
function heatmap(title, bins, rows, valueOf, text, width) {
  const longest = rows.reduce((max, row) => Math.max(max, row.label.length), 0);
  const left = Math.min(longest * 6.6 + 10, width * 0.4);
  const slot = Math.max(width - left, 10) / bins.length;
  const height = rows.length * CELL_HEIGHT + 20;
  const values = rows.flatMap((row) => row.cells.map(valueOf)).filter((value) => value !== null);
  const min = values.reduce((a, b) => Math.min(a, b), Infinity);
  const max = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const strength = (value) => (max > min ? FAINTEST + ((1 - FAINTEST) * (value - min)) / (max - min) : 1);
  const range = values.length ? `from ${text(min)} (faint) to ${text(max)} (strong)` : "nothing measured";
  const svg = drawn("svg", {
    class: "chart",
    role: "img",
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    "aria-label": `${title}: ${rows.length} kinds, ${range}`,
  });
  rows.forEach(({ label, cells }, rowIdx) => {
    const y = rowIdx * CELL_HEIGHT;
    const name = cut(visible(label), Math.floor((left - 8) / 6.6));
    svg.append(drawn("text", { class: "tick", x: left - 8, y: y + 13, "text-anchor": "end" }, name));
    cells.forEach((sums, idx) => {
      const value = valueOf(sums);
      if (value === null) return;
      const gap = slot > 3 ? 1 : 0;
      const place = { x: left + idx * slot, y, width: Math.max(slot - gap, 0.5), height: CELL_HEIGHT - 1 };
      const said = drawn("title", {}, `${visible(label)}, ${bins[idx].label}: ${text(value)}`);
      svg.append(drawn("rect", { class: "bar", "fill-opacity": strength(value).toFixed(3), ...place }, said));
    });
  });
  const every = Math.ceil(34 / slot);
  bins.forEach((bin, idx) => {
    if (idx % every !== 0) return;
    const at = { x: left + (idx + 0.5) * slot, y: height - 4, "text-anchor": "middle" };
    svg.append(drawn("text", { class: "tick", ...at }, String(bin.first)));
  });
  return { svg, range };
}

/** The two maps of a stack; nothing where there are no two kinds to compare. */
function heatmaps(stack, bins) {
  const rows = heatRows(stack, bins);
  if (rows.length < 2) return null;
  const one = (title, valueOf, text) => {
    const caption = element("figcaption");
    const canvas = drawnToWidth((width) => {
      const { svg, range } = heatmap(title, bins, rows, valueOf, text, width);
      caption.textContent = `${title}, ${range}`;
      return svg;
    });
    return element("figure", {}, caption, canvas);
  };
  return element(
    "div",
    { class: "pair" },
    one("Bits per weight by kind", (sums) => sums.bits, bitsText),
    one("Error by kind", (sums) => sums.nmse, errorText),
  );
}
// Where the bytes are: a bar of their parts, and a treemap of every tensor within its kind.

const MAX_GROUPS = 48;
/** Tensors that would get fewer square pixels are drawn as one. */
const MIN_AREA = 30;
/** Width of a letter of the labels, in pixels. */
const LETTER = 7.6;

/** Codecs, headers, index: what is stored beside the tensors, in bytes. */
function overheadOf(totals) {
  const tensors = totals.coded_bytes + totals.lossless_bytes;
  return { codecs: totals.codec_bytes, headers: Math.max(totals.total_bytes - tensors - totals.codec_bytes, 0) };
}

/**
 * Rectangles for weights that are sorted downwards, each as near to a square as it gets (Bruls, Huizing and van Wijk,
 * Squarified Treemaps, 2000).
 */
function squarified(weights, { x, y, w, h }) {
  const total = weights.reduce((a, b) => a + b, 0);
  const places = [];
  let scale = total > 0 ? (w * h) / total : 0;
  let at = 0;
  while (at < weights.length) {
    const side = Math.max(Math.min(w, h), 1e-9);
    let sum = 0;
    let end = at;
    let worst = Infinity;
    while (end < weights.length) {
      const next = sum + weights[end] * scale;
      const ratio = Math.max(
        (side * side * weights[at] * scale) / next ** 2,
        next ** 2 / (side * side * weights[end] * scale),
      );
      if (!(ratio <= worst)) break;
      worst = ratio;
      sum = next;
      end += 1;
    }
    // A weight of nothing has no ratio; it gets a place of no size.
    if (end === at) {
      sum = weights[at] * scale;
      end += 1;
    }
    const depth = sum / side;
    let along = 0;
    for (; at < end; at += 1) {
      const length = depth > 0 ? (weights[at] * scale) / depth : 0;
      places.push(w >= h ? { x, y: y + along, w: depth, h: length } : { x: x + along, y, w: length, h: depth });
      along += length;
    }
    if (w >= h) [x, w] = [x + depth, Math.max(w - depth, 0)];
    else [y, h] = [y + depth, Math.max(h - depth, 0)];
  }
  return places;
}

/** The leaves of a kind: tensors, the smallest as one, with bytes each. */
function leavesOf(group, minBytes) {
  const rows = group.rows.filter((row) => row.coding !== "tied" && row.tensor.n_bytes > 0);
  rows.sort((a, b) => b.tensor.n_bytes - a.tensor.n_bytes);
  const leaves = [];
  for (const row of rows) {
    const last = leaves[leaves.length - 1];
    if (row.tensor.n_bytes < minBytes && last && last.n > 0 && last.coding === row.coding) {
      last.nBytes += row.tensor.n_bytes;
      last.n += 1;
      last.label = `${counted(last.n, "small tensor")} of ${visible(group.label)}`;
    } else {
      const isSmall = row.tensor.n_bytes < minBytes;
      leaves.push({
        label: visible(row.tensor.name),
        name: row.tensor.name,
        row,
        coding: row.coding,
        nBytes: row.tensor.n_bytes,
        n: isSmall ? 1 : 0,
      });
    }
  }
  return leaves.sort((a, b) => b.nBytes - a.nBytes);
}

/** The treemap, drawn for a width in pixels; a click on a tensor calls `pick` with its name. */
function treemap(groups, width, pick) {
  const height = Math.round(Math.min(Math.max(width * 0.46, 260), 480));
  const total = groups.reduce((sum, group) => sum + group.nBytes, 0);
  const svg = drawn("svg", {
    class: "chart treemap",
    role: "img",
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    "aria-label": `Treemap of ${bytesText(total)} by kind of tensor; the tables below have the same figures`,
  });
  const minBytes = (MIN_AREA * total) / (width * height);
  const places = squarified(
    groups.map((group) => group.nBytes),
    { x: 0, y: 0, w: width, h: height },
  );
  groups.forEach((group, idx) => {
    const leaves = group.leaves ?? leavesOf(group, minBytes);
    const inner = inset(places[idx], 1);
    squarified(
      leaves.map((leaf) => leaf.nBytes),
      inner,
    ).forEach((place, leafIdx) => {
      const leaf = leaves[leafIdx];
      const { x, y, w, h } = inset(place, Math.min(0.5, place.w / 8, place.h / 8));
      const rect = drawn(
        "rect",
        { class: `leaf ${leaf.coding}`, x, y, width: w, height: h },
        drawn(
          "title",
          {},
          [leaf.label, bytesText(leaf.nBytes), percentText(leaf.nBytes, total), leafText(leaf)]
            .filter(Boolean)
            .join("\n"),
        ),
      );
      if (leaf.name !== undefined && leaf.n < 2) {
        rect.classList.add("picks");
        rect.addEventListener("click", () => pick(leaf.name));
      }
      svg.append(rect);
    });
    svg.append(...labelOf(group, leaves[0]?.coding, inner, total));
  });
  return svg;
}

function leafText({ row, n }) {
  if (row === undefined || n > 1) return "";
  return `${visible(row.tensor.coding)}, ${bitsText(row.tensor.bpw)} bits per weight`;
}

function inset({ x, y, w, h }, by) {
  return { x: x + by, y: y + by, w: Math.max(w - 2 * by, 0), h: Math.max(h - 2 * by, 0) };
}

/** The name of a group where it has room, and its part of all bytes below; edged in the colour that it lies on. */
function labelOf(group, coding, { x, y, w, h }, total) {
  const name = cut(visible(group.label), Math.floor((w - 12) / LETTER));
  if (h < 20 || name.length < 3) return [];
  const labels = [drawn("text", { class: `label ${coding}`, x: x + 6, y: y + 15 }, name)];
  const part = percentText(group.nBytes, total);
  if (h >= 36) labels.push(drawn("text", { class: `label part ${coding}`, x: x + 6, y: y + 30 }, part));
  return labels;
}

/** The groups of the treemap: kinds, codecs, headers; largest first. */
function treemapGroups(rows, totals) {
  const kinds = kindsOf(
    rows.filter((row) => row.coding !== "tied" && row.tensor.n_bytes > 0),
    MAX_GROUPS,
  );
  const groups = kinds.map((kind) => ({ label: kind.label, rows: kind.rows, nBytes: kind.sums.nBytes }));
  const { codecs, headers } = overheadOf(totals);
  for (const [label, nBytes] of [
    ["codecs", codecs],
    ["headers and index", headers],
  ]) {
    if (nBytes > 0) groups.push({ label, nBytes, leaves: [{ label, nBytes, coding: "overhead" }] });
  }
  return groups.sort((a, b) => b.nBytes - a.nBytes);
}

/** The section of bytes: their parts in one bar with a legend, then the treemap. */
function bytesSection(rows, totals, pick) {
  const sumOf = (coding) => rows.reduce((sum, row) => sum + (row.coding === coding ? row.tensor.n_bytes : 0), 0);
  const { codecs, headers } = overheadOf(totals);
  const parts = [
    ["coded", CODINGS.coded, sumOf("coded")],
    ["packed", CODINGS.packed, sumOf("packed")],
    ["kept", CODINGS.kept, sumOf("kept")],
    ["overhead", "codecs, headers, index", codecs + headers],
  ].filter(([, , nBytes]) => nBytes > 0);
  const total = parts.reduce((sum, [, , nBytes]) => sum + nBytes, 0);
  if (total === 0) return null;
  const legend = element(
    "ul",
    { class: "legend" },
    parts.map(([coding, label, nBytes]) =>
      element(
        "li",
        {},
        drawn(
          "svg",
          { width: 12, height: 12, "aria-hidden": "true" },
          drawn("rect", { class: `leaf ${coding}`, width: 12, height: 12, rx: 2 }),
        ),
        element("span", {}, label),
        element("b", {}, bytesText(nBytes)),
        element("span", { class: "note" }, percentText(nBytes, total)),
      ),
    ),
  );
  if (rows.length === 0) return section("bytes", "Where the bytes are", [legend]);
  const groups = treemapGroups(rows, totals);
  return section("bytes", "Where the bytes are", [legend, drawnToWidth((width) => treemap(groups, width, pick))]);
}
// The table of all tensors: sorted by any column, filtered by text and by coding.

/** Rows shown at first, and added by each press of the button. */
const ROWS_AT_ONCE = 200;

const shapeText = (shape) => (shape.length === 0 ? "scalar" : shape.join(" × "));

/** The columns: heading, value to sort by, content of a cell, whether it is a number. */
const COLUMNS = [
  { title: "Name", key: (t) => t.name, cell: (t) => nameElement(t.name, { class: "name" }) },
  { title: "Dtype", key: (t) => t.dtype, cell: (t) => t.dtype },
  { title: "Shape", key: (t) => t.n_weights, cell: (t) => shapeText(t.shape), isNumber: true },
  {
    title: "Coding",
    key: (t) => t.coding,
    cell: (t) => element("span", { title: t.codec ?? null }, visible(t.coding)),
  },
  { title: "Bits per weight", key: (t) => t.bpw, cell: (t) => bitsText(t.bpw), isNumber: true },
  { title: "nMSE", key: (t) => t.nmse ?? -1, cell: (t) => errorText(t.nmse), isNumber: true },
  { title: "Bytes", key: (t) => t.n_bytes, cell: (t) => grouped(t.n_bytes), isNumber: true },
  { title: "Reason", key: (t) => t.reason ?? "", cell: (t) => visible(t.reason ?? "") },
];

/** What the filters keep, sorted; equal keys stay in file order. */
function chosen(rows, { text, coding, column, isDown }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = ({ tensor, coding: own }) => {
    if (coding && own !== coding) return false;
    const said = `${tensor.name} ${tensor.dtype} ${tensor.coding} ${tensor.reason ?? ""}`.toLowerCase();
    return words.every((word) => said.includes(word));
  };
  const kept = rows.filter(fits);
  if (column === null) return kept;
  const { key } = COLUMNS[column];
  const order = (a, b) => {
    const [x, y] = [key(a.tensor), key(b.tensor)];
    return typeof x === "string" ? names.compare(x, y) : x - y;
  };
  return kept.sort((a, b) => (isDown ? order(b, a) : order(a, b)) || a.idx - b.idx);
}

/** Compares names so that layer 2 comes before layer 10. */
const names = new Intl.Collator("en", { numeric: true });

/** The section of all tensors; `pick(name)` shows one of them alone. */
function tableSection(rows) {
  const state = { text: "", coding: "", column: null, isDown: false, n: ROWS_AT_ONCE };
  const input = element("input", { type: "search", id: "nwc-filter", autocomplete: "off", spellcheck: "false" });
  const kinds = Object.entries(CODINGS).filter(([coding]) => rows.some((row) => row.coding === coding));
  const select = element(
    "select",
    { id: "nwc-coding" },
    element("option", { value: "" }, "all"),
    kinds.map(([coding, label]) => element("option", { value: coding }, label)),
  );
  const status = element("p", { class: "note", role: "status" });
  const body = element("tbody");
  const more = element("button", { type: "button", class: "more" });
  const heads = COLUMNS.map(({ title, isNumber }, idx) => {
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => sortBy(idx));
    return element("th", { scope: "col", class: isNumber ? "number" : null }, button);
  });

  function update() {
    const kept = chosen(rows, state);
    const shown = kept.slice(0, state.n);
    body.replaceChildren(
      ...shown.map(({ tensor, coding }) =>
        element(
          "tr",
          { class: coding },
          COLUMNS.map(({ cell, isNumber }) => element("td", { class: isNumber ? "number" : null }, cell(tensor))),
        ),
      ),
    );
    heads.forEach((head, idx) => {
      if (idx === state.column) head.setAttribute("aria-sort", state.isDown ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const sums = new Sums();
    kept.forEach((row) => sums.add(row));
    const bits = sums.bits === null ? "" : `, ${bitsText(sums.bits)} bits per weight`;
    const number =
      kept.length === rows.length
        ? counted(rows.length, "tensor")
        : `${grouped(kept.length)} of ${counted(rows.length, "tensor")}`;
    status.textContent = `${number}, ${bytesText(sums.nBytes)}${bits}`;
    const left = kept.length - shown.length;
    more.hidden = left <= 0;
    more.textContent = `Show ${grouped(Math.min(left, ROWS_AT_ONCE))} more of ${grouped(left)}`;
  }

  function sortBy(column) {
    // Numbers start with the largest, words with the first.
    const first = Boolean(COLUMNS[column].isNumber);
    state.isDown = state.column === column ? !state.isDown : first;
    state.column = column;
    state.n = ROWS_AT_ONCE;
    update();
  }

  function filter() {
    Object.assign(state, { text: input.value, coding: select.value, n: ROWS_AT_ONCE });
    update();
  }

  input.addEventListener("input", filter);
  select.addEventListener("change", filter);
  more.addEventListener("click", () => {
    state.n += ROWS_AT_ONCE;
    update();
  });
  update();
  const node = section("tensors", "All tensors", [
    element(
      "div",
      { class: "controls" },
      element("label", { for: "nwc-filter" }, "Filter"),
      input,
      element("label", { for: "nwc-coding" }, "Coding"),
      select,
      status,
    ),
    element(
      "div",
      { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "All tensors" },
      element("table", { class: "tensors" }, element("thead", {}, element("tr", {}, heads)), body),
    ),
    more,
  ]);
  const pick = (name) => {
    input.value = name;
    select.value = "";
    filter();
    node.scrollIntoView({ block: "start" });
  };
  return { node, pick };
}
// The page of an inspection: what `nwc-cli inspect --json` prints, to look at.

/** A part of the page under a heading. */
function section(id, title, content) {
  return element("section", { "aria-labelledby": `nwc-${id}` }, element("h2", { id: `nwc-${id}` }, title), content);
}

function headline(totals, rows) {
  const codecs = [...new Set(rows.filter((row) => row.coding === "coded").map((row) => row.tensor.coding))];
  const tile = (label, value, note) =>
    element(
      "div",
      { class: "tile" },
      element("dt", {}, label),
      element("dd", { class: "value" }, value),
      element("dd", { class: "note" }, note),
    );
  const hasCoded = totals.n_coded > 0;
  const original = bytesText(totals.original_bytes);
  const linear = totals.bpw_payload_linear > 0 ? `, ${bitsText(totals.bpw_payload_linear)} over the linear ones` : "";
  return element(
    "dl",
    { class: "tiles" },
    tile(
      "Bits per parameter",
      totals.n_params > 0 ? bitsText(totals.bpw_total) : "–",
      "all that is stored, over all parameters",
    ),
    tile(
      "Bits per coded weight",
      hasCoded ? bitsText(totals.bpw_payload) : "–",
      hasCoded ? `payload and scales${linear}` : "nothing is coded",
    ),
    tile(
      "Size",
      bytesText(totals.total_bytes),
      totals.original_bytes > 0
        ? `${percentText(totals.total_bytes, totals.original_bytes)} of the original's ${original}`
        : "the original has no weights",
    ),
    tile("Parameters", countText(totals.n_params), `${percentText(totals.n_coded, totals.n_params)} of them coded`),
    tile(
      "Error (nMSE)",
      hasCoded ? errorText(totals.nmse) : "–",
      "squared error over squared norm, mean of the coded weights",
    ),
    tile(
      "Codec",
      codecs.length ? codecs.slice(0, 3).map(visible).join(", ") : "none",
      `${bytesText(totals.codec_bytes)} of tables and networks`,
    ),
  );
}

/** How many names of a group are listed. */
const NAMES_LISTED = 100;

/** What is not coded, by the reason that was noted for it. */
function keptSection(rows) {
  const others = rows.filter((row) => row.coding !== "coded");
  if (others.length === 0) return null;
  const tiedTo = (row) => (row.coding === "tied" ? "stored once, with the tensor that it is tied to" : null);
  const groups = groupedBy(others, (row) => `${row.coding}\n${tiedTo(row) ?? row.tensor.reason ?? "no reason noted"}`);
  const items = largest(groups, 40, "reasons").map(({ key, label, rows: members, sums }) => {
    const [coding, reason] = label ? [null, label] : key.split(/\n(.*)/s);
    const list = members
      .slice(0, NAMES_LISTED)
      .map((row) =>
        element(
          "li",
          {},
          nameElement(row.tensor.name, { class: "name" }),
          row.coding === "tied" ? [" ", nameElement(row.tensor.coding)] : null,
        ),
      );
    if (members.length > NAMES_LISTED)
      list.push(element("li", {}, `and ${grouped(members.length - NAMES_LISTED)} more`));
    return element(
      "li",
      {},
      element(
        "details",
        {},
        element(
          "summary",
          {},
          element("b", {}, visible(reason)),
          element(
            "span",
            { class: "note" },
            [coding ? CODINGS[coding] : null, counted(members.length, "tensor"), bytesText(sums.nBytes)]
              .filter(Boolean)
              .join(" · "),
          ),
        ),
        element("ul", { class: "names" }, list),
      ),
    );
  });
  return section("kept", "What is not coded, and why", [element("ul", { class: "reasons" }, items)]);
}

function filesSection(files) {
  const entries = Object.entries(files ?? {});
  if (entries.length === 0) return null;
  const body = entries.map(([name, digest]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, nameElement(name, { class: "name" })),
      element("td", { class: "name digest" }, visible(digest)),
    ),
  );
  return section("files", "Carried files", [
    element("p", { class: "note" }, "Files of the original folder, with the BLAKE3 digest of each as it was."),
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element(
          "thead",
          {},
          element("tr", {}, element("th", { scope: "col" }, "File"), element("th", { scope: "col" }, "Digest")),
        ),
        element("tbody", {}, body),
      ),
    ),
  ]);
}

function originSection(inspection) {
  const entries = [
    ["Format", `version ${inspection.format_version}`],
    ["Written by", inspection.generator],
    ["Fingerprint of the original", inspection.fingerprint],
    ...Object.entries(inspection.provenance ?? {}),
  ];
  return section("origin", "How it came about", [
    element(
      "dl",
      { class: "entries" },
      entries.map(([key, value]) =>
        element("div", {}, element("dt", {}, visible(key)), element("dd", { class: "name" }, visible(value))),
      ),
    ),
  ]);
}

/** Shows an inspection in `place`, instead of what is there. */
function showInspection(place, title, inspection) {
  const rows = rowsOf(inspection);
  const table = rows.length > 0 ? tableSection(rows) : null;
  const sections = [
    bytesSection(rows, inspection.totals, (name) => table.pick(name)),
    layerSection(rows),
    kindSection(rows),
    keptSection(rows),
    table ? table.node : element("p", { class: "note" }, "There are no tensors."),
    filesSection(inspection.files),
    originSection(inspection),
  ].filter((part) => part !== null);
  const links = sections
    .filter((part) => part.tagName === "SECTION")
    .map((part) => {
      const heading = part.querySelector("h2");
      const link = element("a", { href: `#${heading.id}` }, heading.textContent);
      // In a frame of a notebook the address is the notebook's, and the link would lead there.
      link.addEventListener("click", (event) => {
        event.preventDefault();
        part.scrollIntoView();
      });
      return link;
    });
  place.replaceChildren(
    element(
      "header",
      {},
      element("p", { class: "note" }, "Compressed by nwc"),
      element("h1", {}, nameElement(title)),
      element("nav", { "aria-label": "Sections" }, links),
    ),
    headline(inspection.totals, rows),
    ...sections,
  );
}

/** Shows the inspection that the page itself holds, where it holds one. */
function showOwn() {
  const data = document.getElementById("nwc-data");
  if (data === null) return;
  const { title, inspection } = JSON.parse(data.textContent);
  showInspection(document.getElementById("nwc-page"), title, inspection);
}

if (typeof document !== "undefined") showOwn();

// The lists of crates/nwc/src/role.rs.
const EMBEDDINGS = new Set(["embed_tokens", "wte", "wpe", "word_embeddings", "word_embedding", "position_embeddings", "token_type_embeddings", "token_embedding", "token_embeddings", "tok_embeddings", "token_embd", "tokens_embed", "embed_tokens_per_layer", "embed_in", "embeddings", "embedding", "embed", "emb", "shared"]);
const HEADS = new Set(["lm_head", "embed_out", "unembed", "output_embeddings", "codec_head"]);
const TOP_LEVEL_HEADS = new Set(["output", "head", "proj_out", "classifier", "score"]);
const TOP_LEVELS = new Set(["model", "transformer", "language_model", "rwkv"]);

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
// The viewer's own part: a folder that is dropped or chosen, or an address.

/** Folders deeper than this hold no part of a pipeline. */
const MAX_DEPTH = 8;

/** All files of a dropped folder by path, or the dropped files; with the folder's name. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folder = entries.find((entry) => entry.isDirectory);
  const title = folder?.name ?? "Dropped files";
  const files = new Map();
  const fileOf = (entry) => new Promise((done, failed) => entry.file(done, failed));
  async function entriesOf(directory) {
    const reader = directory.createReader();
    const found = [];
    // A reader gives some entries a call, and none when it is done.
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (some.length === 0) return found;
      found.push(...some);
    }
  }
  async function add(found, prefix, depth) {
    for (const entry of found) {
      if (entry.isFile) files.set(prefix + entry.name, await fileOf(entry));
      else if (depth < MAX_DEPTH) await add(await entriesOf(entry), `${prefix}${entry.name}/`, depth + 1);
    }
  }
  if (folder) await add(await entriesOf(folder), "", 1);
  else await add(entries, "", MAX_DEPTH);
  return { title, files };
}

/** All files of a chosen folder by path, with the folder's name. */
function chosenFiles(list) {
  const files = new Map();
  let title = "Chosen files";
  for (const file of list) {
    const parts = file.webkitRelativePath.split("/");
    if (parts.length > 1) title = parts[0];
    files.set(parts.slice(1).join("/") || file.name, file);
  }
  return { title, files };
}

function startViewer() {
  const at = (id) => document.getElementById(id);
  const [place, status, address] = [at("nwc-page"), at("nwc-status"), at("nwc-address")];
  let latest = 0;

  async function show(title, sourceOf) {
    latest += 1;
    const own = latest;
    const say = (text, isError = false) => {
      if (own !== latest) return;
      status.textContent = text;
      status.classList.toggle("error", isError);
    };
    say("Reading");
    place.replaceChildren();
    try {
      const inspection = await inspect(await sourceOf(), say);
      if (own !== latest) return;
      showInspection(place, title(), inspection);
      document.title = `${visible(title())} · nwc`;
      say("");
    } catch (error) {
      say(error instanceof ViewerError ? error.message : `This cannot be shown: ${error.message}`, true);
    }
  }

  function showFiles(get) {
    let title = "";
    return show(
      () => title,
      async () => {
        const found = await get();
        title = found.title;
        return fileSource(found.files);
      },
    );
  }

  function showAddress(text) {
    let title = "";
    return show(
      () => title,
      async () => {
        const folder = folderAddress(text);
        const parts = folder.pathname.split("/").filter((part) => part && part !== "resolve" && part !== "main");
        title =
          parts
            .map((part) => decodeURIComponent(part))
            .slice(-2)
            .join("/") || folder.host;
        return urlSource(folder);
      },
    );
  }

  at("nwc-folder").addEventListener("change", (event) => showFiles(async () => chosenFiles(event.target.files)));
  at("nwc-open").addEventListener("submit", (event) => {
    event.preventDefault();
    if (address.value.trim()) showAddress(address.value.trim());
  });
  const over = (isOver) => document.body.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    // The list of what was dropped is empty once this handler has returned: it is asked for at once.
    const found = droppedFiles(event.dataTransfer);
    showFiles(() => found);
  });
  const asked = new URLSearchParams(location.search).get("url");
  if (asked) {
    address.value = asked;
    showAddress(asked);
  }
}

if (typeof document !== "undefined" && document.getElementById("nwc-open") !== null) startViewer();

/** For tests, and for pages that show checkpoints of their own. */
globalThis.nwcViewer = { inspect, fileSource, urlSource, showInspection };
})();
