// The review queue: a person says what is truly on a page, with single keys.

import { correct, problemFrom, queue, storedPage } from "./api.js";
import {
  announce,
  capital,
  counted,
  element,
  moment,
  problemBox,
  replace,
  scrollWithin,
  spoken,
} from "./dom.js";
import { dropped, sha256 } from "./files.js";
import { Pictures } from "./pictures.js";
import { Stage, zoomButtons } from "./stage.js";
import { swatch } from "./thresholds.js";

const WHYS = { near: "Near a threshold", disagreeing: "Models disagree", random: "Random sample" };
const NUDGE_PX = 4; // on the screen, for an arrow key

const KEYS = [
  ["A", "keep the box", "keep"],
  ["D", "remove it", "remove"],
  ["C", "next class", "turnClass"],
  ["R", "redraw it", "redraw"],
  ["B", "new box", "add"],
  ["U", "undo", "undo"],
];

/** Why a page is in the queue, in words. */
const reasons = ({ why }) => {
  const words = why.map((each) => WHYS[each] ?? each).join(", ");
  return words.charAt(0) + words.slice(1).toLowerCase();
};

/** The boxes of a prediction as they are reviewed: certain ones kept, the others to be decided. */
const underReview = (entry, thresholds) =>
  [...entry.detections]
    .sort((one, other) => other.confidence - one.confidence)
    .map((detection, id) => ({
      id,
      class: detection.class,
      bbox: detection.bbox,
      score: detection.confidence,
      kept: thresholds.accepts(detection),
    }));

/** A box moved (or its far corner moved) by dx, dy, inside the page and never turned over. */
export function nudged([x0, y0, x1, y1], [dx, dy], resize, { width, height }) {
  const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
  if (resize) return [x0, y0, clamp(x1 + dx, x0 + 2, width), clamp(y1 + dy, y0 + 2, height)];
  const [right, down] = [clamp(dx, -x0, width - x1), clamp(dy, -y0, height - y1)];
  return [x0 + right, y0 + down, x1 + right, y1 + down];
}

export class Queue {
  /** `fileOf(sha256)` is a file that another view holds, if any. */
  constructor(root, thresholds, fileOf) {
    Object.assign(this, {
      root,
      thresholds,
      fileOf,
      entries: [],
      entry: null,
      next: null,
      selected: null,
      moving: false,
    });
    this.files = new Map(); // SHA-256 -> file, of pages that the gateway does not store
    this.pictures = new Pictures();
    this.build();
    this.stage = new Stage(this.view, {
      onPick: (id) => this.select(id),
      onFocus: (id) => this.select(id),
      onDraw: (bbox) => this.drawn(bbox),
    });
    this.zoom.append(zoomButtons(this.stage));
  }

  build() {
    const button = (text, act, attributes = {}) =>
      element("button", { type: "button", onclick: act, ...attributes }, text);
    this.why = element(
      "select",
      { id: "why", onchange: () => this.load() },
      element("option", { value: "" }, "All reasons"),
      ...Object.entries(WHYS).map(([value, text]) => element("option", { value }, text)),
    );
    this.list = element("ol", { class: "pages", "aria-label": "Pages to review" });
    this.foot = element("p", { class: "foot" });
    this.zoom = element("span", {});
    this.title = element("h1", { class: "title" });
    this.view = element("div", {
      class: "stage",
      tabindex: "0",
      role: "group",
      "aria-label": "Page under review",
    });
    this.hint = element("p", { class: "hint", role: "status" });
    this.boxes = element("div", {});
    const actions = KEYS.map(([key, text, act]) =>
      button(
        [element("kbd", {}, key), ` ${text}`],
        (event) => {
          if (event.detail > 0) this.view.focus({ preventScroll: true }); // a mouse: keys go to the page
          this[act]();
        },
        { class: "action" },
      ),
    );
    this.panel = element(
      "div",
      { class: "side panel" },
      element("section", {}, element("h2", {}, "Boxes"), this.boxes),
      element(
        "section",
        { "aria-label": "Actions" },
        element("div", { class: "actions" }, ...actions),
      ),
      element(
        "section",
        { class: "finish" },
        button([element("kbd", {}, "Enter"), " Save and next"], () => this.save(), {
          class: "primary wide",
        }),
        button([element("kbd", {}, "N"), " Next without saving"], () => this.step(1), {
          class: "wide",
        }),
      ),
      element(
        "section",
        { class: "small" },
        element(
          "p",
          {},
          "Digits set the class. Shift+A keeps, Shift+D removes all that are undecided. A drag on the page draws a new box.",
        ),
      ),
    );
    this.root.append(
      element(
        "div",
        { class: "side list-side" },
        element(
          "div",
          { class: "toolbar" },
          element("label", { for: "why" }, "Show"),
          this.why,
          button("Reload", () => this.load(), { class: "quiet" }),
        ),
        this.list,
        this.foot,
      ),
      element(
        "div",
        { class: "middle" },
        element(
          "div",
          { class: "toolbar stage-bar" },
          button("‹", () => this.step(-1), {
            class: "icon",
            "aria-label": "Previous page",
            title: "Previous page (P)",
          }),
          button("›", () => this.step(1), {
            class: "icon",
            "aria-label": "Next page",
            title: "Next page (N)",
          }),
          this.title,
          this.zoom,
        ),
        this.view,
        this.hint,
      ),
      this.panel,
    );
  }

  async load() {
    this.foot.textContent = "Loading…";
    try {
      const { pages, total, next } = await queue(this.why.value || null, null);
      Object.assign(this, { entries: pages, total, next });
    } catch (error) {
      this.entries = [];
      replace(this.list, element("li", {}, problemBox(problemFrom(error))));
      this.foot.textContent = "";
      this.open(null);
      return;
    }
    this.drawList();
    this.open(this.entries[0] ?? null);
  }

  async more() {
    if (!this.next) return;
    try {
      const { pages, next } = await queue(this.why.value || null, this.next);
      this.entries.push(...pages);
      this.next = next;
      this.drawList();
    } catch (error) {
      this.say(problemFrom(error).message);
    }
  }

  // The list

  drawList() {
    for (const entry of this.entries)
      if (!entry.row) {
        entry.state = element("span", { class: "row-time" });
        entry.row = element(
          "button",
          { type: "button", class: "row queue-row", onclick: () => this.open(entry) },
          element(
            "span",
            { class: "row-text" },
            element("span", { class: "row-name" }, reasons(entry), spoken(", ")),
            element(
              "span",
              { class: "row-marks faint" },
              `${entry.sha256.slice(0, 8)} page ${entry.page} · ${moment(entry.time)}`,
            ),
          ),
          entry.state,
        );
      }
    replace(this.list, ...this.entries.map((entry) => element("li", {}, entry.row)));
    if (this.next)
      this.list.append(
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", class: "quiet more", onclick: () => this.more() },
            "More",
          ),
        ),
      );
    this.count();
  }

  count() {
    const saved = this.entries.filter((entry) => entry.saved).length;
    const left = Math.max(0, (this.total ?? this.entries.length) - saved);
    this.foot.textContent =
      this.entries.length === 0
        ? "Nothing to review."
        : `${counted(left, "page")} left · ${saved} saved`;
  }

  step(by) {
    const place = this.entries.indexOf(this.entry) + by;
    if (place >= this.entries.length - 5) this.more();
    if (place >= 0 && place < this.entries.length) this.open(this.entries[place]);
    else this.say(by > 0 ? "That was the last page." : "This is the first page.");
  }

  // One page

  open(entry) {
    this.entry = entry;
    this.settle();
    for (const each of this.entries) each.row?.setAttribute("aria-current", String(each === entry));
    this.root.toggleAttribute("data-none", !entry);
    if (!entry) {
      this.stage.clear();
      this.title.textContent = "";
      replace(this.boxes, element("p", { class: "faint" }, "Nothing to review."));
      this.say("");
      return;
    }
    entry.boxes ??= underReview(entry, this.thresholds);
    entry.history ??= [];
    scrollWithin(this.list, entry.row);
    this.title.textContent = `${reasons(entry)}: page ${entry.page} of ${entry.sha256.slice(0, 12)}…`;
    this.stage.show(
      this.pictureKey(entry),
      entry,
      `Page ${entry.page} under review`,
      this.picture(entry),
    );
    this.selected = (entry.boxes.find((box) => !box.kept) ?? entry.boxes[0])?.id ?? null;
    this.draw();
    this.say("");
    announce(
      `${reasons(entry)}, ${counted(entry.boxes.length, "box")}, ${this.undecided().length} undecided`,
    );
  }

  file({ sha256 }) {
    return this.files.get(sha256) ?? this.fileOf(sha256);
  }

  pictureKey(entry) {
    return `${entry.sha256}:${entry.page}:${this.file(entry) ? "file" : "stored"}`;
  }

  picture(entry) {
    const file = this.file(entry);
    const key = this.pictureKey(entry);
    if (file) return this.pictures.ofPage(key, file, entry);
    if (entry.stored) return this.pictures.address(key, () => storedPage(entry.sha256, entry.page));
    return Promise.reject(
      new Error("The gateway does not store it. Drop its file here to see it."),
    );
  }

  /** Takes dropped files as pictures of pages that are not stored. */
  async drop(transfer) {
    const { pages } = await dropped(transfer);
    const wanted = new Set(this.entries.map((entry) => entry.sha256));
    let used = 0;
    try {
      for (const { file } of pages) {
        const found = await sha256(file);
        if (!wanted.has(found)) continue;
        this.files.set(found, file);
        used += 1;
      }
    } catch (error) {
      this.say(problemFrom(error).message);
      return;
    }
    if (used > 0 && this.entry) this.open(this.entry);
    this.say(
      used > 0 ? `${counted(used, "file")} of the queue.` : "None of these files is in the queue.",
    );
  }

  undecided() {
    return this.entry?.boxes.filter((box) => !box.kept) ?? [];
  }

  box() {
    return this.entry?.boxes.find((box) => box.id === this.selected);
  }

  select(id) {
    if (id === this.selected) return;
    this.settle();
    this.selected = id;
    this.draw();
    const box = this.box();
    if (box)
      announce(
        `${box.class}${box.score === undefined ? "" : ` ${box.score.toFixed(2)}`}, ${box.kept ? "kept" : "undecided"}`,
      );
  }

  draw() {
    const { entry, thresholds } = this;
    this.stage.mark(
      entry.boxes.map((box) => ({
        id: box.id,
        name: box.class,
        score: box.score,
        bbox: box.bbox,
        colour: thresholds.colour(box.class),
        look: box.kept ? "" : "unsure",
        note: box.kept ? "kept" : "undecided",
      })),
      this.selected ?? "",
    );
    const rows = entry.boxes.map((box) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            type: "button",
            class: "found-row",
            "data-id": box.id,
            "aria-pressed": String(box.id === this.selected),
            onclick: () => this.select(box.id),
          },
          swatch(box.class, thresholds),
          element(
            "span",
            { class: "found-name" },
            capital(box.class),
            element(
              "span",
              { class: box.kept ? "good" : "warn" },
              box.kept ? " kept" : " undecided",
            ),
          ),
          element(
            "span",
            { class: "score" },
            box.score === undefined ? "drawn" : box.score.toFixed(2),
          ),
        ),
      ),
    );
    const focused = this.boxes.contains(document.activeElement);
    replace(
      this.boxes,
      rows.length > 0
        ? element("ul", { class: "found-list" }, ...rows)
        : element("p", { class: "faint" }, "No marks on this page."),
    );
    if (focused) this.boxes.querySelector("[aria-pressed=true]")?.focus();
    entry.state.textContent = entry.saved ? "✓ saved" : entry.history.length > 0 ? "changed" : "";
  }

  say(text) {
    this.hint.textContent = text;
    this.hint.hidden = !text;
  }

  // What the keys do

  /** Changes the page's boxes so that it can be undone. */
  change(boxes) {
    this.entry.history.push(this.entry.boxes);
    this.entry.boxes = boxes;
  }

  replace(changes) {
    this.change(
      this.entry.boxes.map((box) => (box.id === this.selected ? { ...box, ...changes } : box)),
    );
  }

  /** Selects what is undecided next, after a box was decided. */
  onward() {
    this.selected =
      this.undecided()[0]?.id ??
      this.entry.boxes.find((box) => box.id === this.selected)?.id ??
      this.entry.boxes[0]?.id ??
      null;
    this.settle();
    this.draw();
    const left = this.undecided().length;
    this.say(left > 0 ? `${left} undecided.` : "All decided. Enter saves.");
  }

  needsBox() {
    if (this.box()) return true;
    this.say("No box is selected. Tab goes through the boxes.");
    return false;
  }

  keep() {
    if (!this.needsBox()) return;
    this.replace({ kept: true });
    this.onward();
  }

  remove() {
    if (!this.needsBox()) return;
    this.change(this.entry.boxes.filter((box) => box.id !== this.selected));
    this.onward();
  }

  keepAll() {
    this.change(this.entry.boxes.map((box) => ({ ...box, kept: true })));
    this.onward();
  }

  removeAll() {
    this.change(this.entry.boxes.filter((box) => box.kept));
    this.onward();
  }

  setClass(name) {
    if (!name || !this.needsBox()) return;
    this.replace({ class: name });
    this.draw();
    announce(name);
  }

  turnClass() {
    if (!this.needsBox()) return;
    const { classes } = this.thresholds;
    this.setClass(classes[(classes.indexOf(this.box().class) + 1) % classes.length]);
  }

  redraw() {
    if (!this.needsBox()) return;
    this.change(this.entry.boxes);
    this.moving = this.stage.drawing = true;
    this.say("Drag the new rectangle. Arrows move the box, Shift+arrows size it, Enter is done.");
    this.view.focus({ preventScroll: true });
  }

  add() {
    if (!this.entry) return;
    const { width, height } = this.entry;
    const bbox = [0.4 * width, 0.47 * height, 0.6 * width, 0.53 * height].map(Math.round);
    this.put(bbox);
    this.moving = this.stage.drawing = true;
    this.say("Drag its rectangle. Arrows move the box, Shift+arrows size it, Enter is done.");
    this.view.focus({ preventScroll: true });
  }

  put(bbox) {
    const id =
      1 + Math.max(-1, ...[...this.entry.history, this.entry.boxes].flat().map((box) => box.id));
    const name = this.box()?.class ?? this.thresholds.classes[0] ?? "signature";
    this.change([...this.entry.boxes, { id, class: name, bbox, kept: true }]);
    this.selected = id;
    this.draw();
  }

  /** A rectangle was drawn: the selected box's while it is redrawn, else a new box's. */
  drawn(bbox) {
    if (!this.entry) return;
    if (this.moving) {
      this.entry.boxes = this.entry.boxes.map((box) =>
        box.id === this.selected ? { ...box, bbox, kept: true, score: undefined } : box,
      );
      this.onward();
    } else {
      this.put(bbox);
      this.say(`New ${this.box().class}. C or a digit changes its class.`);
    }
  }

  nudge(direction, resize) {
    const step = Math.max(1, NUDGE_PX / this.stage.scale);
    this.entry.boxes = this.entry.boxes.map((box) =>
      box.id === this.selected
        ? {
            ...box,
            bbox: nudged(
              box.bbox,
              direction.map((each) => each * step),
              resize,
              this.entry,
            ),
            kept: true,
            score: undefined,
          }
        : box,
    );
    this.draw();
  }

  /** Ends moving and drawing. */
  settle() {
    this.moving = false;
    this.stage.drawing = false;
  }

  undo() {
    this.settle();
    const before = this.entry?.history.pop();
    if (!before) {
      this.say("Nothing to undo on this page.");
      return;
    }
    this.entry.boxes = before;
    if (!this.box()) this.selected = before[0]?.id ?? null;
    this.draw();
    this.say("Undone.");
  }

  async save() {
    const { entry } = this;
    if (!entry || entry.saving) return;
    const left = this.undecided().length;
    if (left > 0) {
      this.say(
        `${counted(left, "box")} undecided: A keeps, D removes, Shift+A and Shift+D all of them.`,
      );
      return;
    }
    entry.saving = true;
    try {
      const detections = entry.boxes.map((box) => ({ class: box.class, bbox: box.bbox }));
      const { version } = await correct(entry, detections);
      Object.assign(entry, { version, saved: true });
      entry.history = [];
      this.count();
      if (this.entry === entry) {
        this.draw();
        this.step(1);
      }
    } catch (error) {
      this.say(`Not saved. ${problemFrom(error).message}`);
    } finally {
      entry.saving = false;
    }
  }

  /** Keys of the view; true if one was meant. */
  key(event) {
    if (!this.entry) return false;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const onButton = event.target.closest?.("button:not(.box), a, input");
    if (this.moving) {
      if (event.key in arrows) this.nudge(arrows[event.key], event.shiftKey);
      else if (event.key === "Enter" && !onButton) this.onward();
      else if (event.key === "Escape") this.undo();
      else return false;
      return true;
    }
    if (event.key === "Enter" && !onButton) {
      this.save();
      return true;
    }
    if (event.key === "Delete") {
      this.remove();
      return true;
    }
    const keys = {
      a: () => this.keep(),
      A: () => this.keepAll(),
      d: () => this.remove(),
      D: () => this.removeAll(),
      c: () => this.turnClass(),
      r: () => this.redraw(),
      b: () => this.add(),
      u: () => this.undo(),
      n: () => this.step(1),
      p: () => this.step(-1),
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      "+": () => this.stage.larger(),
      "=": () => this.stage.larger(),
      "-": () => this.stage.smaller(),
      0: () => this.stage.zoomBy(null),
    };
    if (event.key in keys) keys[event.key]();
    else if (/^[1-9]$/.test(event.key)) this.setClass(this.thresholds.classes[event.key - 1]);
    else return false;
    return true;
  }
}
