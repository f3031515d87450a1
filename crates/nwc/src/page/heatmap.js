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
