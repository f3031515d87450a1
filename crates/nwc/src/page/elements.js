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
