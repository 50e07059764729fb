// What a person decides about one page of the queue: its boxes, and the way back.

import { boxesOf } from "./thresholds.js";

/** A box moved, or its far corner moved, by [dx, dy]: inside the page, never turned over. */
function nudged([x0, y0, x1, y1], [dx, dy], resize, { width, height }) {
  const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
  if (resize) return [x0, y0, clamp(x1 + dx, x0 + 2, width), clamp(y1 + dy, y0 + 2, height)];
  const [right, down] = [clamp(dx, -x0, width - x1), clamp(dy, -y0, height - y1)];
  return [x0 + right, y0 + down, x1 + right, y1 + down];
}

/**
 * The boxes {id, class, bbox, score, kept} of a page. Those above the accept point begin as kept,
 * the others are undecided until they are kept or removed. A drawn box is kept and has no score.
 */
export class Review {
  constructor({ detections, width, height }, thresholds) {
    this.boxes = boxesOf(detections).map((box) => ({ ...box, kept: thresholds.accepts(box) }));
    this.nextId = this.boxes.length;
    this.size = { width, height };
    this.classes = thresholds.classes;
    this.history = []; // boxes and selection before each change
    this.selected = null; // a box's id
    this.onward();
  }

  get box() {
    return this.boxes.find((box) => box.id === this.selected);
  }

  get undecided() {
    return this.boxes.filter((box) => !box.kept);
  }

  /** Selects the next box to decide, else leaves the selection where it is. */
  onward() {
    this.selected = (this.undecided[0] ?? this.box ?? this.boxes[0])?.id ?? null;
  }

  /** Changes the boxes so that it can be undone. */
  change(boxes) {
    this.history.push({ boxes: this.boxes, selected: this.selected });
    this.boxes = boxes;
  }

  /** The boxes with the selected one changed. */
  with(changes) {
    return this.boxes.map((box) => (box === this.box ? { ...box, ...changes } : box));
  }

  keep() {
    this.change(this.with({ kept: true }));
    this.onward();
  }

  remove() {
    this.change(this.boxes.filter((box) => box !== this.box));
    this.onward();
  }

  keepAll() {
    this.change(this.boxes.map((box) => ({ ...box, kept: true })));
  }

  removeAll() {
    this.change(this.boxes.filter((box) => box.kept));
    this.onward();
  }

  setClass(name) {
    this.change(this.with({ class: name }));
  }

  turnClass() {
    this.setClass(this.classes[(this.classes.indexOf(this.box.class) + 1) % this.classes.length]);
  }

  /** A new box, of the class of the selected one; in the middle of the page if none is drawn. */
  add(bbox = this.middle()) {
    const id = this.nextId;
    this.nextId += 1;
    this.change([
      ...this.boxes,
      { id, class: this.box?.class ?? this.classes[0], bbox, kept: true },
    ]);
    this.selected = id;
  }

  middle() {
    const { width, height } = this.size;
    return [0.4 * width, 0.47 * height, 0.6 * width, 0.53 * height].map(Math.round);
  }

  /** Remembers the boxes, so that what `place` and `nudge` do is undone at once. */
  begin() {
    this.change(this.boxes);
  }

  /** Puts the selected box elsewhere. */
  place(bbox) {
    this.boxes = this.with({ bbox, kept: true, score: undefined });
  }

  nudge(by, resize) {
    this.place(nudged(this.box.bbox, by, resize, this.size));
  }

  /** Takes the latest change back; false if there is none. */
  undo() {
    const before = this.history.pop();
    if (!before) return false;
    Object.assign(this, before);
    return true;
  }

  /** What is truly on the page. */
  get detections() {
    return this.boxes.map((box) => ({ class: box.class, bbox: box.bbox }));
  }
}
