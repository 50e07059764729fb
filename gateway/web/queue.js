// The review queue: a person says what is truly on a page, with single keys.

import { correct, problemFrom, queue } from "./api.js";
import {
  announce,
  byId,
  counted,
  element,
  moment,
  problemBox,
  replace,
  scrollWithin,
  spoken,
} from "./dom.js";
import { dropped, sha256 } from "./files.js";
import { boxRow, foundList } from "./found.js";
import { Review } from "./review.js";
import { Stage, zoomButtons } from "./stage.js";

const WHYS = { near: "Near a threshold", disagreeing: "Models disagree", random: "Random sample" };
const NUDGE_PX = 4; // on the screen, for an arrow key

/** Why a page is in the queue, in words. */
const reasons = ({ why }) => {
  const words = why.map((each) => WHYS[each] ?? each).join(", ");
  return words.charAt(0) + words.slice(1).toLowerCase();
};

export class Queue {
  /** `pictures` are KnownPictures. */
  constructor(thresholds, pictures) {
    Object.assign(this, { thresholds, pictures });
    this.entries = [];
    this.entry = this.next = null;
    this.drawing = false; // whether the selected box is drawn or moved
    this.list = byId("queue-pages");
    this.view = byId("queue-stage");
    this.boxes = byId("queue-boxes");
    this.stage = new Stage(this.view, thresholds, {
      onPick: (id) => this.select(id),
      onFocus: (id) => this.select(id),
      onDraw: (bbox) => this.drawn(bbox),
    });
    byId("queue-zoom").append(zoomButtons(this.stage));
    for (const [value, text] of Object.entries(WHYS))
      byId("why").append(element("option", { value }, text));
    byId("why").addEventListener("change", () => this.load());
    byId("queue-reload").addEventListener("click", () => this.load());
    byId("queue-previous").addEventListener("click", () => this.step(-1));
    byId("queue-next").addEventListener("click", () => this.step(1));
    for (const button of document.querySelectorAll("[data-act]"))
      button.addEventListener("click", (event) => {
        if (event.detail > 0) this.view.focus({ preventScroll: true }); // a mouse
        this[button.dataset.act]();
      });
  }

  /** Whether something was decided and not saved. */
  get unsaved() {
    return this.entries.some(({ review }) => review?.history.length > 0);
  }

  async load() {
    const why = byId("why").value;
    byId("queue-foot").textContent = "Loading…";
    try {
      const { pages, total, next } = await queue(why || null, null);
      if (why !== byId("why").value) return; // another kind was chosen meanwhile
      Object.assign(this, { entries: pages, total, next });
    } catch (error) {
      this.entries = [];
      replace(this.list, element("li", {}, problemBox(problemFrom(error))));
      byId("queue-foot").textContent = "";
      this.open(null, "");
      return;
    }
    this.drawList();
    this.open(this.entries[0] ?? null);
  }

  async more() {
    if (!this.next) return;
    try {
      const { pages, next } = await queue(byId("why").value || null, this.next);
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
    byId("queue-foot").textContent =
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

  /** Shows a page; null for none, with words instead. */
  open(entry, words = "Nothing to review.") {
    this.entry = entry;
    this.settle();
    for (const each of this.entries) each.row?.setAttribute("aria-current", String(each === entry));
    byId("queue").toggleAttribute("data-none", !entry);
    this.say("");
    if (!entry) {
      this.stage.clear(words);
      replace(this.boxes, element("p", { class: "faint" }, words));
      return;
    }
    entry.review ??= new Review(entry, this.thresholds);
    scrollWithin(this.list, entry.row);
    const title = `${reasons(entry)}: page ${entry.page}`;
    byId("queue-title").textContent = `${title} of ${entry.sha256.slice(0, 12)}…`;
    this.stage.show(this.pictures.key(entry), entry, title, this.pictures.address(entry));
    this.draw();
    const { boxes, undecided } = entry.review;
    announce(`${title}, ${counted(boxes.length, "box")}, ${undecided.length} undecided`);
  }

  /** Takes dropped files as pictures of pages that are not stored. */
  async drop(transfer) {
    const { pages } = await dropped(transfer);
    const wanted = new Set(this.entries.map((entry) => entry.sha256));
    let used = 0;
    for (const { file } of pages) {
      const digest = await sha256(file);
      if (!wanted.has(digest)) continue;
      this.pictures.files.set(digest, file);
      used += 1;
    }
    if (used > 0) this.open(this.entry);
    this.say(
      used > 0 ? `${counted(used, "file")} of the queue.` : "None of these files is in the queue.",
    );
  }

  select(id) {
    const { review } = this.entry;
    if (id === review.selected) return;
    this.settle();
    review.selected = id;
    this.draw();
    const { class: name, score, kept } = review.box;
    announce(`${name} ${score?.toFixed(2) ?? "drawn"}, ${kept ? "kept" : "undecided"}`);
  }

  draw() {
    const { entry } = this;
    const { boxes, selected, history } = entry.review;
    this.stage.mark(boxes, selected);
    const rows = boxes.map((box) => {
      const state = box.kept
        ? element("span", { class: "good" }, "kept")
        : element("span", { class: "warn" }, "undecided");
      return boxRow(box, state, this.thresholds, {
        "data-id": box.id,
        "aria-pressed": String(box.id === selected),
        onclick: () => this.select(box.id),
      });
    });
    const focused = this.boxes.contains(document.activeElement);
    replace(this.boxes, foundList(rows, "No marks on this page."));
    if (focused) this.boxes.querySelector("[aria-pressed=true]")?.focus();
    entry.state.textContent = history.length > 0 ? "changed" : entry.saved ? "✓ saved" : "";
  }

  say(text) {
    byId("queue-hint").textContent = text;
    byId("queue-hint").hidden = !text;
  }

  // What the keys do

  /** Does something to the boxes of the page, and shows it. */
  decide(change) {
    if (!this.entry) return;
    this.settle();
    change(this.entry.review);
    this.draw();
    const left = this.entry.review.undecided.length;
    this.say(left > 0 ? `${left} undecided.` : "All decided. Enter saves.");
  }

  /** The same to the selected box. */
  decideBox(change) {
    if (this.entry?.review.box) this.decide(change);
    else this.say("No box is selected. Tab goes through the boxes.");
  }

  keep() {
    this.decideBox((review) => review.keep());
  }

  remove() {
    this.decideBox((review) => review.remove());
  }

  turnClass() {
    this.decideBox((review) => review.turnClass());
  }

  /** The selected box is drawn anew, with the mouse, a finger or the arrow keys. */
  redraw() {
    this.decideBox((review) => review.begin());
    if (this.entry?.review.box) this.letDraw();
  }

  add() {
    this.decide((review) => review.add());
    if (this.entry) this.letDraw();
  }

  letDraw() {
    this.drawing = this.stage.drawing = true;
    this.say("Drag its rectangle. Arrows move the box, Shift+arrows size it, Enter is done.");
    this.view.focus({ preventScroll: true });
  }

  /** Ends drawing. */
  settle() {
    this.drawing = this.stage.drawing = false;
  }

  /** A rectangle was drawn: the selected box's while it is redrawn, else a new box's. */
  drawn(bbox) {
    const anew = this.drawing;
    this.decide((review) => (anew ? review.place(bbox) : review.add(bbox)));
  }

  nudge(direction, resize) {
    const step = Math.max(1, NUDGE_PX / this.stage.scale);
    this.entry.review.nudge(
      direction.map((each) => each * step),
      resize,
    );
    this.draw();
  }

  undo() {
    this.settle();
    const undone = this.entry?.review.undo();
    if (undone) this.draw();
    this.say(undone ? "Undone." : "Nothing to undo on this page.");
  }

  skip() {
    this.step(1);
  }

  async save() {
    const { entry } = this;
    if (!entry || entry.saving) return;
    const left = entry.review.undecided.length;
    if (left > 0) {
      const boxes = counted(left, "box");
      this.say(`${boxes} undecided: A keeps, D removes, with Shift all of them.`);
      return;
    }
    entry.saving = true;
    try {
      const { version } = await correct(entry, entry.review.detections);
      Object.assign(entry, { version, saved: true });
      entry.review.history = [];
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
    const enter = event.key === "Enter" && !event.target.closest("button:not(.box), a, input");
    if (this.drawing) {
      if (event.key in arrows) this.nudge(arrows[event.key], event.shiftKey);
      else if (enter) this.decide(() => {});
      else if (event.key === "Escape") this.undo();
      else return false;
      return true;
    }
    const keys = {
      a: () => this.keep(),
      A: () => this.decide((review) => review.keepAll()),
      d: () => this.remove(),
      D: () => this.decide((review) => review.removeAll()),
      Delete: () => this.remove(),
      c: () => this.turnClass(),
      r: () => this.redraw(),
      b: () => this.add(),
      u: () => this.undo(),
      n: () => this.step(1),
      p: () => this.step(-1),
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
    };
    const name = /^[1-9]$/.test(event.key) && this.thresholds.classes[event.key - 1];
    if (enter) this.save();
    else if (event.key in keys) keys[event.key]();
    else if (name) this.decideBox((review) => review.setClass(name));
    else return this.stage.zoomKey(event);
    return true;
  }
}
