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
