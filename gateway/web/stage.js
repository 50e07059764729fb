// A page with what was found on it: picture, boxes, zones; zoom; rectangles drawn by hand.

import { drawing, element, replace, spoken } from "./dom.js";
import { pointing } from "./found.js";

const ZOOM_STEP = 1.25;
const SMALLEST_DRAWN = 4; // CSS pixels: what is smaller was a click
const MARGIN = 16; // CSS pixels around the page

const area = ({ bbox: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
const percent = (part, whole) => `${(part / whole) * 100}%`;

/** Where a box lies, in percent of the page. */
const placed = ([x0, y0, x1, y1], { width, height }) => ({
  left: percent(x0, width),
  top: percent(y0, height),
  width: percent(x1 - x0, width),
  height: percent(y1 - y0, height),
});

/** Where a box lies in words, for those who do not see the page. */
function whereabouts([x0, y0, x1, y1], { width, height }) {
  const row = ["top", "middle", "bottom"][Math.min(2, Math.floor((1.5 * (y0 + y1)) / height))];
  const column = ["left", "centre", "right"][Math.min(2, Math.floor((1.5 * (x0 + x1)) / width))];
  return `${row} ${column}`;
}

/**
 * Shows one page in `root`. `onPick(id)` is told which box was clicked, `onFocus(id)` which has
 * the focus, `onLight(id, on)` which is pointed at or has it. With `onDraw(bbox)` rectangles can be
 * drawn, in pixels of the page: with a mouse or pen at once, with a finger while `drawing` is on.
 */
export class Stage {
  constructor(root, thresholds, { onPick, onLight, onFocus, onDraw } = {}) {
    const nothing = () => {};
    Object.assign(this, { root, thresholds, onDraw });
    this.onPick = onPick ?? nothing;
    this.onLight = onLight ?? nothing;
    this.onFocus = onFocus ?? nothing;
    this.zoom = this.page = this.key = null;
    this.image = element("img", { alt: "", draggable: "false" });
    this.message = element("p", { class: "sheet-message" });
    this.zones = drawing("svg", { class: "zones", preserveAspectRatio: "none" });
    this.layer = element("div", { class: "boxes" });
    this.sheet = element(
      "div",
      { class: "sheet" },
      this.image,
      this.message,
      this.zones,
      this.layer,
    );
    this.note = element("p", { class: "stage-note", hidden: true });
    root.append(this.sheet, this.note);
    new ResizeObserver(() => this.fit()).observe(root);
    if (onDraw) this.listenToDrawing();
    root.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey || !this.page) return;
        event.preventDefault();
        this.zoomBy(event.deltaY < 0 ? 1.1 : 1 / 1.1, event);
      },
      { passive: false },
    );
  }

  /**
   * Shows the page {width, height} with the picture at the address that `address` promises.
   * A `key` that is shown already changes nothing.
   */
  show(key, page, label, address) {
    if (key === this.key) return;
    if (this.zoom === null) this.root.scrollTo(0, 0); // who looks closely goes on at the same place
    this.key = key;
    this.page = page;
    this.sheet.hidden = false;
    this.note.hidden = true;
    this.image.removeAttribute("src");
    this.image.alt = label;
    this.say("Loading the picture…");
    this.zones.setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
    this.fit();
    address.then(
      async (source) => {
        if (this.key !== key) return;
        this.image.src = source;
        await this.image.decode().catch(() => {});
        if (this.key === key)
          this.say(this.image.naturalWidth ? "" : "The browser cannot show this picture.");
      },
      (problem) => {
        if (this.key === key) this.say(`No picture. ${problem.message}`);
      },
    );
  }

  /** Shows no page, but a few words. */
  clear(words = "") {
    this.note.textContent = words;
    this.note.hidden = !words;
    this.layer.replaceChildren();
    this.zones.replaceChildren();
    this.key = this.page = null;
    this.image.removeAttribute("src");
    this.sheet.hidden = true;
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  /**
   * Draws boxes [{id, class, bbox, score, kept}]: dashed those that are not `kept` or, where that
   * is not said, below the accept point. A box says its class and score on hover and on focus.
   */
  mark(boxes, selected = null) {
    const focused =
      this.layer.contains(document.activeElement) && document.activeElement.dataset.id;
    const bySize = [...boxes].sort((one, other) => area(other) - area(one)); // small ones on top
    const drawn = boxes.map((box) => {
      const look = {
        unsure: !(box.kept ?? this.thresholds.accepts(box)),
        low: box.bbox[1] < this.page.height * 0.04,
        leftwards: box.bbox[0] > this.page.width * 0.7,
        selected: box.id === selected,
      };
      const words = Object.keys(look).filter((word) => look[word]);
      const score = box.score === undefined ? "" : ` ${box.score.toFixed(2)}`;
      const place = whereabouts(box.bbox, this.page);
      return element(
        "button",
        {
          type: "button",
          class: ["box", this.thresholds.colour(box.class), ...words].join(" "),
          style: { ...placed(box.bbox, this.page), "z-index": String(1 + bySize.indexOf(box)) },
          ...pointing(box.id, this.onLight),
          onfocus: () => {
            this.onLight(box.id, true);
            this.onFocus(box.id);
          },
          onclick: () => this.onPick(box.id),
        },
        element("span", { class: "tag" }, `${box.class}${score}`),
        spoken(`, ${look.unsure ? "unsure, " : ""}${place}`),
      );
    });
    replace(this.layer, ...drawn);
    if (focused) this.box(focused)?.focus({ preventScroll: true });
  }

  /** Draws zones [{id, name, points: [[x, y], …], look}]. */
  outline(zones) {
    this.zones.replaceChildren(
      ...zones.map(({ id, name, points, look }) =>
        drawing(
          "polygon",
          {
            points: points.map((point) => point.join(",")).join(" "),
            class: `zone ${look}`,
            "data-id": id,
          },
          drawing("title", {}, name),
        ),
      ),
    );
  }

  box(id) {
    return [...this.layer.children].find((each) => each.dataset.id === String(id));
  }

  /** Lights a box up, or a zone, or puts it out again. */
  light(id, on) {
    for (const each of [...this.layer.children, ...this.zones.children])
      if (each.dataset.id === String(id)) each.classList.toggle("lit", on);
  }

  reveal(id) {
    this.box(id)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Sets the sheet's size: as zoomed, or so that the page fits. */
  fit() {
    if (!this.page) return;
    const { width, height } = this.page;
    const wide = (this.root.clientWidth - 2 * MARGIN) / width;
    const high = (this.root.clientHeight - 2 * MARGIN) / height;
    const whole =
      this.root.dataset.fit === "width" || matchMedia("(max-width: 900px)").matches
        ? wide
        : Math.min(wide, high);
    this.scale = Math.max(0.02, this.zoom ?? whole);
    this.sheet.style.width = `${width * this.scale}px`;
    this.sheet.style.height = `${height * this.scale}px`;
    this.onZoom?.(this.scale, this.zoom === null);
  }

  /** Zooms by a factor, about the pointer of an event or the middle; null fits the page. */
  zoomBy(factor, event = null) {
    if (!this.page) return;
    const frame = this.root.getBoundingClientRect();
    const x = event ? event.clientX - frame.left : frame.width / 2;
    const y = event ? event.clientY - frame.top : frame.height / 2;
    const before = this.scale;
    this.zoom = factor === null ? null : Math.min(8, Math.max(0.05, this.scale * factor));
    this.fit();
    const grown = this.scale / before;
    this.root.scrollLeft = (this.root.scrollLeft + x) * grown - x;
    this.root.scrollTop = (this.root.scrollTop + y) * grown - y;
  }

  larger() {
    this.zoomBy(ZOOM_STEP);
  }

  smaller() {
    this.zoomBy(1 / ZOOM_STEP);
  }

  /** Keys that zoom; true if one was meant. */
  zoomKey(event) {
    if (event.key === "+" || event.key === "=") this.larger();
    else if (event.key === "-") this.smaller();
    else if (event.key === "0") this.zoomBy(null);
    else return false;
    return true;
  }

  /** Whether the next drag draws, with a finger too, and over boxes. */
  set drawing(on) {
    this.sheet.classList.toggle("drawing", on);
  }

  get drawing() {
    return this.sheet.classList.contains("drawing");
  }

  listenToDrawing() {
    this.sheet.classList.add("editable");
    let start = null;
    const rubber = element("div", { class: "rubber", hidden: true });
    this.sheet.append(rubber);
    const at = (event) => {
      const frame = this.sheet.getBoundingClientRect();
      const inside = (value, most) => Math.min(Math.max(value, 0), most);
      return [
        inside((event.clientX - frame.left) / this.scale, this.page.width),
        inside((event.clientY - frame.top) / this.scale, this.page.height),
      ];
    };
    const span = ([x, y]) => [
      Math.min(start[0], x),
      Math.min(start[1], y),
      Math.max(start[0], x),
      Math.max(start[1], y),
    ];
    this.sheet.addEventListener("pointerdown", (event) => {
      const onBox = event.target.closest(".box");
      if (event.button !== 0 || !this.page) return;
      if (!this.drawing && (onBox || event.pointerType === "touch")) return;
      event.preventDefault();
      start = at(event);
      this.sheet.setPointerCapture(event.pointerId);
    });
    this.sheet.addEventListener("pointermove", (event) => {
      if (!start) return;
      rubber.hidden = false;
      const { left, top, width, height } = placed(span(at(event)), this.page);
      Object.assign(rubber.style, { left, top, width, height });
    });
    const end = (event) => {
      if (!start) return;
      const bbox = span(at(event));
      start = null;
      rubber.hidden = true;
      if (event.type === "pointercancel") return;
      if (Math.min(bbox[2] - bbox[0], bbox[3] - bbox[1]) * this.scale >= SMALLEST_DRAWN) {
        this.drawing = false;
        this.onDraw(bbox.map((value) => Math.round(value * 10) / 10));
      }
    };
    this.sheet.addEventListener("pointerup", end);
    this.sheet.addEventListener("pointercancel", end);
  }
}

/** Buttons that zoom a stage, for its toolbar. */
export function zoomButtons(stage) {
  const shown = element("output", { class: "zoom" }, "");
  stage.onZoom = (scale, fitted) => {
    shown.value = fitted ? "Fit" : `${Math.round(scale * 100)} %`;
  };
  const button = (label, text, act) =>
    element(
      "button",
      { type: "button", class: "icon", "aria-label": label, title: label, onclick: act },
      text,
    );
  return element(
    "span",
    { class: "group", role: "group", "aria-label": "Zoom" },
    button("Smaller (-)", "−", () => stage.smaller()),
    shown,
    button("Larger (+)", "+", () => stage.larger()),
    button("Fit the page (0)", "⤢", () => stage.zoomBy(null)),
  );
}
