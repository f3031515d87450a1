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
