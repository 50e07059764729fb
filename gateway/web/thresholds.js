// Thresholds per class, where the sliders stand, and both operating points of the model.

import { capital, counted, element, oncePerFrame, spoken } from "./dom.js";

const SNAP = 0.005; // a slider this near to an operating point stands on it
const COLOURS = 6; // of mark-0 … in style.css

/**
 * What the sliders say. Boxes are asked for down to the review point; which of them are shown is
 * decided here, without another request. `change` is sent when a slider moves.
 */
export class Thresholds extends EventTarget {
  constructor() {
    super();
    this.points = new Map(); // class -> {accept, review, value}
  }

  /** Takes a detector of /v1/models: the sliders begin at its accept point. */
  take({ classes, thresholds }) {
    this.points.clear();
    for (const name of classes) {
      const [accept, review] = [thresholds.accept[name], thresholds.review[name]];
      this.points.set(name, { accept, review, value: accept });
    }
    this.changed();
  }

  /** The points of a class; one that no model named gets points of its own. */
  of(name) {
    if (!this.points.has(name)) {
      this.points.set(name, { accept: 0.5, review: 0, value: 0.5 });
      this.changed();
    }
    return this.points.get(name);
  }

  get classes() {
    return [...this.points.keys()];
  }

  /** The colour of a class, as a class of style.css. */
  colour(name) {
    const place = this.classes.indexOf(name);
    return `mark-${(place < 0 ? COLOURS - 1 : place) % COLOURS}`;
  }

  /** Whether the sliders show a box. */
  shows({ class: name, score }) {
    return score >= this.of(name).value;
  }

  /** Whether a box is above the accept point; one that a person drew has no score, and is. */
  accepts({ class: name, score }) {
    return score === undefined || score >= this.of(name).accept;
  }

  set(name, value) {
    const points = this.of(name);
    const near = [points.accept, points.review].find((point) => Math.abs(point - value) < SNAP);
    points.value = near ?? value;
    this.dispatchEvent(new Event("change"));
  }

  /** Every slider to "accept" or "review". */
  setAll(point) {
    for (const points of this.points.values()) points.value = points[point];
    this.dispatchEvent(new Event("change"));
  }

  changed() {
    this.dispatchEvent(new Event("classes"));
    this.dispatchEvent(new Event("change"));
  }
}

/** Detections of an answer as boxes {id, class, score, bbox}, best first. */
export const boxesOf = (detections) =>
  detections
    .map(({ class: name, confidence, bbox }) => ({ class: name, score: confidence, bbox }))
    .sort((one, other) => other.score - one.score)
    .map((box, id) => ({ id, ...box }));

/** How many boxes each class shows, [[class, count], …], and how many are below the sliders. */
export function tally(boxes, thresholds) {
  const counts = new Map();
  let below = 0;
  for (const box of boxes) {
    if (thresholds.shows(box)) counts.set(box.class, (counts.get(box.class) ?? 0) + 1);
    else below += 1;
  }
  const shown = thresholds.classes
    .filter((name) => counts.has(name))
    .map((name) => [name, counts.get(name)]);
  return { shown, below };
}

/** A square of a class's colour. */
export const swatch = (name, thresholds) =>
  element("span", { class: `swatch ${thresholds.colour(name)}`, "aria-hidden": "true" });

/** Counts per class as small chips: colour and number, read as "2 signature". */
export function chips({ shown, below }, thresholds) {
  const made = shown.map(([name, count]) =>
    element(
      "span",
      { class: "chip", title: counted(count, name) },
      swatch(name, thresholds),
      String(count),
      spoken(` ${name}`),
    ),
  );
  if (made.length === 0) made.push(element("span", { class: "chip none" }, "no marks"));
  if (below > 0)
    made.push(
      element(
        "span",
        { class: "chip below", title: "below the sliders" },
        `+${below}`,
        spoken(" below the sliders"),
      ),
    );
  return made;
}

/** Sliders in `root`, one a class, that follow `thresholds` and move it. */
export function sliders(root, thresholds) {
  const place = (points, at) => `${((at - points.review) / (1 - points.review)) * 100}`;

  function slider(name) {
    const points = thresholds.of(name);
    const id = `threshold-${thresholds.classes.indexOf(name)}`;
    const number = element("output", { for: id });
    const range = element("input", {
      id,
      type: "range",
      min: points.review,
      max: 1,
      step: "any",
      oninput: () => thresholds.set(name, range.valueAsNumber),
    });
    const point = (word, value) =>
      element(
        "button",
        { type: "button", class: "quiet point", onclick: () => thresholds.set(name, value) },
        `${word} ${value.toFixed(2)}`,
        spoken(` for ${name}`),
      );
    const row = element(
      "div",
      { class: "slider" },
      element("label", { for: id }, swatch(name, thresholds), capital(name)),
      number,
      element(
        "div",
        { class: "track", style: { "--accept": place(points, points.accept) } },
        range,
        element("span", { class: "tick accept-tick", "aria-hidden": "true" }),
        element("span", { class: "tick review-tick", "aria-hidden": "true" }),
      ),
      element(
        "div",
        { class: "points" },
        point("Review", points.review),
        point("Accept", points.accept),
      ),
    );
    const follow = () => {
      range.value = points.value;
      number.value = points.value.toFixed(2);
      range.setAttribute("aria-valuetext", points.value.toFixed(2));
      row.dataset.at =
        points.value === points.accept ? "accept" : points.value === points.review ? "review" : "";
    };
    follow();
    return { row, follow };
  }

  let followers = [];
  thresholds.addEventListener(
    "classes",
    oncePerFrame(() => {
      const made = thresholds.classes.map(slider);
      followers = made.map(({ follow }) => follow);
      root.replaceChildren(...made.map(({ row }) => row));
    }),
  );
  thresholds.addEventListener("change", () => followers.forEach((follow) => follow()));
}
