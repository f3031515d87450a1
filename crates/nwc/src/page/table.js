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
