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
