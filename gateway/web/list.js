// The list of documents and their pages, each with its thumbnail.

import { verdictChip, verdictOf } from "./check.js";
import { counted, drawing, duration, element, replace, scrollWithin } from "./dom.js";
import { drawThumbnail } from "./pictures.js";
import { chips } from "./thresholds.js";

const NEAR_PX = 600; // thumbnails this far outside the list's window are drawn already
const STATES = { waiting: "waiting", asking: "in work", busy: "gateway busy, waiting" };

/**
 * Rows in `root`. A page has `page.row` once it is drawn; `page.shown` says whether the filter
 * lets it through, `page.counts` what is on it. `onSelect(page)` is told which row has the focus.
 */
export class PageList {
  constructor(root, thresholds, onSelect) {
    Object.assign(this, { root, thresholds, onSelect });
    this.near = new IntersectionObserver(
      (entries) => entries.forEach((entry) => this.seen(entry)),
      {
        root,
        rootMargin: `${NEAR_PX}px`,
      },
    );
  }

  add(doc) {
    doc.head = element("div", { class: "document-head" });
    doc.list = element("ol", { class: "document-pages" });
    doc.item = element("li", { class: "document" }, doc.head, doc.list);
    this.root.append(doc.item);
  }

  clear() {
    this.near.disconnect();
    replace(this.root);
  }

  /** Makes the rows of pages that have none yet. */
  draw(doc) {
    for (const page of doc.pages) page.row ?? this.makeRow(page);
    replace(doc.list, ...doc.pages.map((page) => page.item));
    doc.item.toggleAttribute("data-many", doc.pages.length > 1);
  }

  makeRow(page) {
    page.canvas = element("canvas", { width: 0, height: 0, "aria-hidden": "true" });
    page.outlines = drawing("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
    page.label = element("span", { class: "row-name" });
    page.marks = element("span", { class: "row-marks" });
    page.time = element("span", { class: "row-time" });
    const select = () => this.onSelect(page);
    page.row = element(
      "button",
      { type: "button", class: "row", tabindex: "-1", onclick: select, onfocus: select },
      element("span", { class: "thumb" }, element("span", {}, page.canvas, page.outlines)),
      element("span", { class: "row-text" }, page.label, page.marks),
      page.time,
    );
    page.row.page = page;
    page.item = element("li", {}, page.row);
    this.near.observe(page.row);
  }

  /** Lets a page's row go: nothing is drawn into it any more. */
  forget(page) {
    page.drawing?.abort();
    if (page.row) this.near.unobserve(page.row);
  }

  /** Draws a row's thumbnail when it comes near the window, and lets it go when it is far. */
  seen({ target: { page }, isIntersecting }) {
    page.near = isIntersecting;
    if (isIntersecting) {
      this.thumbnail(page);
      return;
    }
    page.drawing?.abort();
    page.drawing = null;
    page.canvas.width = page.canvas.height = 0;
  }

  thumbnail(page) {
    if (page.drawing || !page.near || !page.width) return; // before its answer nothing is drawn
    page.drawing = new AbortController();
    drawThumbnail(page.canvas, page.document.file, page, page.drawing.signal).catch(() => {});
  }

  /** Says which page is the current one. */
  mark(page, current) {
    page.row.tabIndex = current ? 0 : -1;
    page.row.setAttribute("aria-current", String(current));
    if (current) scrollWithin(this.root, page.row);
  }

  /** Brings a document's rows in line with its answers and the sliders. */
  update(doc) {
    for (const page of doc.pages) this.updateRow(page, doc);
    doc.item.hidden = !doc.pages.some((page) => page.shown);
    if (doc.pages.length > 1) this.updateHead(doc);
  }

  updateRow(page, doc) {
    const many = doc.pages.length > 1;
    const error = page.error ?? doc.problem;
    const words = error ? error.detail || error.title : page.boxes ? "" : STATES[doc.state];
    const verdict = many ? null : verdictOf(doc);
    page.item.hidden = !page.shown;
    this.thumbnail(page);
    const said = JSON.stringify([many, words, page.counts, page.milliseconds, verdict]);
    if (said === page.said) return;
    page.said = said;
    page.label.textContent = many ? `Page ${page.page}` : doc.name;
    page.label.title = doc.name;
    page.time.textContent = page.milliseconds ? duration(page.milliseconds) : "";
    replace(
      page.marks,
      words
        ? element("span", { class: error ? "bad clipped" : "faint", title: words }, words)
        : chips(page.counts, this.thresholds),
      verdict && verdictChip(verdict),
    );
    if (page.width) this.outline(page);
  }

  /** The boxes over a page's thumbnail. */
  outline(page) {
    page.outlines.setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
    const boxes = (page.boxes ?? []).filter((box) => this.thresholds.shows(box));
    const outlines = boxes.map(({ class: name, bbox: [x, y, x1, y1] }) =>
      drawing("rect", { x, y, width: x1 - x, height: y1 - y, class: this.thresholds.colour(name) }),
    );
    replace(page.outlines, ...outlines);
  }

  updateHead(doc) {
    const total = doc.pages.length;
    const progress = doc.answered < total ? `${doc.answered} of ${total}` : counted(total, "page");
    const verdict = verdictOf(doc);
    const said = `${progress} ${verdict}`;
    if (said === doc.said) return;
    doc.said = said;
    replace(
      doc.head,
      element("span", { class: "document-name", title: doc.name }, doc.name),
      verdict && verdictChip(verdict),
      element("span", { class: "row-time" }, progress),
    );
  }
}
