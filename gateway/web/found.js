// Lists of what lies on a page, and facts about it, as every view shows them.

import { capital, element } from "./dom.js";
import { swatch } from "./thresholds.js";

/** Listeners that tell `onLight(id, on)` whether something is pointed at, or has the focus. */
export const pointing = (id, onLight) => ({
  "data-id": id,
  onmouseenter: () => onLight(id, true),
  onmouseleave: () => onLight(id, false),
  onfocus: () => onLight(id, true),
  onblur: () => onLight(id, false),
});

const row = (attributes, ...children) =>
  element(
    "li",
    {},
    element("button", { type: "button", class: "found-row", ...attributes }, ...children),
  );

/** A row for a box: colour, class, a word on its state (null for none), score. */
export const boxRow = ({ class: name, score }, state, thresholds, attributes) =>
  row(
    attributes,
    swatch(name, thresholds),
    element("span", { class: "found-name" }, capital(name), state && [" ", state]),
    element("span", { class: "score" }, score === undefined ? "drawn" : score.toFixed(2)),
  );

/** A row for what a PDF itself says of a page. */
export const fieldRow = ({ name, state }, attributes) =>
  row(
    attributes,
    element("span", { class: "swatch field", "aria-hidden": "true" }),
    element("span", { class: "found-name" }, name),
    element("span", { class: "faint" }, state),
  );

/** The rows as a list, or words if there are none. */
export const foundList = (rows, words) =>
  rows.length > 0 ? element("ul", {}, ...rows) : element("p", { class: "faint" }, words);

/** The row of `id` in a list; undefined if it has none. */
export const rowOf = (root, id) =>
  [...root.querySelectorAll("[data-id]")].find((each) => each.dataset.id === String(id));

/** The state of a box that the model is not sure of; nothing for one above the accept point. */
export const belowAccept = (box, thresholds) =>
  thresholds.accepts(box) ? null : element("span", { class: "faint" }, "below accept");

/** Pairs of term and value as a list; what is no pair is left out. */
export const facts = (pairs) =>
  element(
    "dl",
    {},
    ...pairs
      .filter(Boolean)
      .flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
  );
