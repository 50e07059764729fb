// The view of documents: files in, pages with their boxes, what lies on each, a form's check.

import { documentAnswers, problemFrom, problemIn } from "./api.js";
import { CheckPanel } from "./check.js";
import { csvOf } from "./csv.js";
import {
  announce,
  byId,
  counted,
  digest,
  duration,
  element,
  oncePerFrame,
  problemBox,
  replace,
  save,
  scrollWithin,
  size,
} from "./dom.js";
import { chosen, dropped } from "./files.js";
import { belowAccept, boxRow, facts, fieldRow, foundList, pointing, rowOf } from "./found.js";
import { PageList } from "./list.js";
import { limiter, Pictures } from "./pictures.js";
import { Stage, zoomButtons } from "./stage.js";
import { boxesOf, sliders, tally } from "./thresholds.js";

const IN_FLIGHT = 3; // documents; the gateway runs the pages of each in parallel
const MM = 25.4 / 72; // a point

const errorOf = (page) => page.error ?? page.document.problem;

const FILTERS = {
  all: ["All pages", () => true],
  marks: ["With marks", ({ counts }) => counts.shown.length > 0],
  none: ["Without marks", ({ boxes, counts }) => boxes && counts.shown.length === 0],
  below: ["With boxes below the sliders", ({ counts }) => counts.below > 0],
  failed: ["With errors", errorOf],
  missing: ["Check: missing", ({ document: doc }) => doc.check?.verdict === "missing"],
  review: ["Check: to review", ({ document: doc }) => doc.check?.verdict === "review"],
};

const median = (values) => [...values].sort((one, other) => one - other)[values.length >> 1];
const ended = ({ state }) => state === "done" || state === "failed";

/** What a PDF says of a page beside its picture: signature fields and stamp annotations. */
const ofThePdf = (page) => [
  ...(page.signature_fields ?? []).map(({ name, signed, bbox_points: bbox }, index) => ({
    id: `field ${index}`,
    name: `Signature field ${name}`,
    state: signed ? "signed digitally" : "not signed",
    bbox,
  })),
  ...(page.stamp_annotations ?? []).map(({ name, bbox_points: bbox }, index) => ({
    id: `stamp ${index}`,
    name: `Stamp annotation ${name}`,
    state: "in the PDF",
    bbox,
  })),
];

/** The corners in pixels of a page's box in points. */
function corners([left, top, right, bottom], page) {
  const [across, down] = [page.width / page.width_points, page.height / page.height_points];
  const [x0, y0, x1, y1] = [left * across, top * down, right * across, bottom * down];
  return [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ];
}

/** A page's size as a person reads it. */
function sizeOf({ width, height, width_points: across, height_points: down }) {
  const sheet = across ? `, ${Math.round(across * MM)} × ${Math.round(down * MM)} mm` : "";
  return `${width} × ${height} px${sheet}`;
}

export class Documents {
  constructor(thresholds) {
    this.thresholds = thresholds;
    this.documents = [];
    this.current = null; // a page
    this.abort = new AbortController();
    this.inFlight = limiter(IN_FLIGHT);
    this.pictures = new Pictures();
    this.list = new PageList(byId("pages"), thresholds, (page) => this.select(page));
    this.stage = new Stage(byId("stage"), thresholds, {
      onPick: (id) => scrollWithin(byId("panel"), rowOf(byId("found"), id)),
      onLight: (id, on) => this.light(id, on),
    });
    this.check = new CheckPanel(byId("check"), {
      onChange: (doc) => this.checked(doc),
      onZone: (zone) => this.select(this.current.document.pages[zone.document_page - 1]),
      onLight: (id, on) => this.stage.light(id, on),
    });
    this.refresh = oncePerFrame(() => this.update());
    thresholds.addEventListener("change", this.refresh);
    byId("zoom").append(zoomButtons(this.stage));
    sliders(byId("sliders"), thresholds);
    this.listen();
    this.empty();
  }

  listen() {
    for (const kind of ["files", "folder"]) {
      for (const button of document.querySelectorAll(`[data-choose=${kind}]`))
        button.addEventListener("click", () => byId(kind).click());
      byId(kind).addEventListener("change", () => this.add(chosen(byId(kind))));
    }
    byId("clear").addEventListener("click", () => this.empty());
    byId("save").addEventListener("click", () => this.saveCsv());
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    for (const [value, [text]] of Object.entries(FILTERS))
      byId("filter").append(element("option", { value }, text));
    byId("filter").addEventListener("change", this.refresh);
    byId("pages").addEventListener("keydown", (event) => {
      const steps = {
        ArrowDown: 1,
        ArrowUp: -1,
        PageDown: 8,
        PageUp: -8,
        Home: -Infinity,
        End: Infinity,
      };
      if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.step(steps[event.key]);
    });
  }

  /** Keys of the whole view; true if one was meant. */
  key(event) {
    const keys = {
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      a: () => this.thresholds.setAll("accept"),
      r: () => this.thresholds.setAll("review"),
    };
    if (!(event.key in keys)) return this.stage.zoomKey(event);
    keys[event.key]();
    return true;
  }

  async drop(transfer) {
    this.add(await dropped(transfer));
  }

  add({ pages, leftOut }) {
    this.leftOut += leftOut;
    if (this.finished !== null) {
      this.started = performance.now(); // of a new batch
      this.finished = null;
      this.answeredBefore = this.everyPage().length;
    }
    for (const { file, name } of pages) {
      const id = crypto.getRandomValues(new Uint32Array(1))[0];
      const doc = { id, file, name, pages: [] };
      this.documents.push(doc);
      this.list.add(doc);
      this.send(doc);
    }
    byId("documents").toggleAttribute("data-empty", this.documents.length === 0);
    if (!this.current) this.select(this.documents[0]?.pages[0]);
    this.refresh();
  }

  empty() {
    this.abort.abort(new DOMException("cleared", "AbortError"));
    this.abort = new AbortController();
    for (const page of this.everyPage()) this.list.forget(page);
    this.list.clear();
    this.pictures.clear();
    this.documents = [];
    this.current = null;
    this.started = this.finished = this.leftOut = this.answeredBefore = 0;
    byId("documents").toggleAttribute("data-empty", true);
    this.stage.clear();
    this.refresh();
  }

  /** Takes a document out of the list, and shows the next one, or the one before. */
  remove(doc) {
    const place = this.documents.indexOf(doc);
    if (this.documents.length === 1) return this.empty();
    doc.abort.abort(new DOMException("removed", "AbortError"));
    for (const page of doc.pages) this.list.forget(page);
    doc.item.remove();
    this.documents.splice(place, 1);
    this.current = null;
    this.select((this.documents[place] ?? this.documents[place - 1]).pages[0]);
    this.refresh();
  }

  everyPage() {
    return this.documents.flatMap((doc) => doc.pages);
  }

  // Asking

  /** Sends a document when its turn comes; as one page until the gateway says how many it has. */
  send(doc) {
    doc.abort = new AbortController();
    const signal = AbortSignal.any([this.abort.signal, doc.abort.signal]);
    for (const page of doc.pages) this.list.forget(page);
    Object.assign(doc, { state: "waiting", problem: null, answer: null, answered: 0 });
    Object.assign(doc, { check: null, checkProblem: null });
    doc.pages = [this.newPage(doc, 1)];
    this.list.draw(doc);
    this.inFlight(() => this.ask(doc, signal), signal).catch(() => {}); // cleared before its turn
  }

  async ask(doc, signal) {
    const start = performance.now();
    const turn = (state) => {
      doc.state = state;
      this.refresh();
    };
    turn("asking");
    try {
      for await (const object of documentAnswers(doc.file, {
        signal,
        onWait: () => turn("busy"),
      })) {
        doc.state = "asking";
        if (object.page !== undefined) this.takePage(doc, object);
        else if (object.error) throw problemIn(object.error);
        else if (!object.done) this.takeHead(doc, object);
      }
      this.giveUp(doc, {
        title: "No answer",
        detail: "The gateway's answer ended before this page.",
      });
      doc.state = "done";
    } catch (error) {
      if (signal.aborted) return;
      doc.state = doc.answer ? "done" : "failed";
      if (doc.answer) this.giveUp(doc, problemFrom(error));
      else doc.problem = problemFrom(error);
    }
    doc.milliseconds = performance.now() - start;
    if (this.documents.every(ended)) this.finished = performance.now();
    if (this.current?.document === doc) this.showPage();
    this.refresh();
  }

  /** Gives the pages that have no answer an error instead. */
  giveUp(doc, error) {
    for (const page of doc.pages) if (!page.boxes && !page.error) page.error = error;
  }

  newPage(doc, number) {
    return { document: doc, page: number, key: `${doc.id}:${number}` };
  }

  takeHead(doc, head) {
    doc.answer = head;
    const numbers = Array.from({ length: head.page_count }, (_, index) => index + 1);
    doc.pages = numbers.map((number) => doc.pages[number - 1] ?? this.newPage(doc, number));
    this.list.draw(doc);
  }

  takePage(doc, answer) {
    const page = doc.pages[answer.page - 1];
    if (!page) return;
    Object.assign(page, answer, answer.detections && { boxes: boxesOf(answer.detections) });
    doc.answered += 1;
    if (page === this.current) this.showPage();
    this.refresh();
  }

  /** Sends a document again. */
  again(doc) {
    const current = this.current?.document === doc;
    if (current) this.current = null;
    this.send(doc);
    if (current) this.select(doc.pages[0]);
    this.refresh();
  }

  /** Sends what was refused for want of a key. */
  allowed() {
    for (const doc of this.documents.filter(({ problem }) => problem?.status === 401))
      this.again(doc);
    this.check.load();
  }

  // The list

  /** Brings every row, the progress and the current page in line with answers and sliders. */
  update() {
    const [, wanted] = FILTERS[byId("filter").value];
    for (const doc of this.documents) {
      for (const page of doc.pages) {
        page.counts = tally(page.boxes ?? [], this.thresholds);
        page.shown = Boolean(wanted(page));
      }
      this.list.update(doc);
    }
    this.updateProgress(this.everyPage());
    this.updateCurrent();
  }

  updateProgress(pages) {
    const failed = pages.filter(errorOf).length;
    const answered = pages.filter((page) => page.boxes || errorOf(page)).length;
    const shown = pages.filter((page) => page.shown).length;
    const times = pages.map((page) => page.milliseconds).filter(Boolean);
    const seconds = ((this.finished ?? performance.now()) - this.started) / 1000;
    const batch = answered - this.answeredBefore;
    const parts = [
      answered < pages.length && `${answered} of`,
      counted(pages.length, "page"),
      shown < pages.length && `· ${shown} shown`,
      failed > 0 && `· ${failed} with errors`,
      times.length > 0 && `· median ${duration(median(times))}`,
      batch > 1 && `· ${(batch / seconds).toFixed(1)} pages/s`,
      this.leftOut > 0 && `· ${counted(this.leftOut, "file")} left out`,
    ];
    byId("bar").hidden = answered === pages.length;
    byId("bar").max = pages.length;
    byId("bar").value = answered;
    byId("progress").textContent =
      pages.length + this.leftOut > 0 ? parts.filter(Boolean).join(" ") : "";
    byId("save").disabled = byId("clear").disabled = pages.length === 0;
  }

  /** A row for each box that the sliders show, and one for a page without any. */
  saveCsv() {
    save(
      "countersign.csv",
      "text/csv",
      csvOf(this.documents, (page) => this.shownBoxes(page)),
    );
    announce("Saved countersign.csv");
  }

  // The page

  select(page) {
    if (!page || page === this.current) return;
    if (this.current) this.list.mark(this.current, false);
    this.current = page;
    this.list.mark(page, true);
    this.showPage();
    this.updateCurrent();
  }

  /** The pages that can be gone to: those that the filter shows, and the current one. */
  reachable() {
    return this.everyPage().filter((page) => page.shown || page === this.current);
  }

  /** Goes some pages on, or as far as there are any; the focus, if it is in the list, as well. */
  step(by) {
    const pages = this.reachable();
    const place = Math.min(pages.length - 1, Math.max(0, pages.indexOf(this.current) + by));
    this.select(pages[place]);
    if (byId("pages").contains(document.activeElement))
      this.current.row.focus({ preventScroll: true });
  }

  showPage() {
    const page = this.current;
    if (!page.width) {
      const problem = errorOf(page);
      this.stage.clear(problem ? problem.detail || problem.title : "Not answered yet.");
      return;
    }
    const label = `Page ${page.page} of ${page.document.name}`;
    const picture = this.pictures.ofPage(page.key, page.document.file, page);
    this.stage.show(page.key, page, label, picture);
  }

  updateCurrent() {
    const page = this.current;
    const doc = page?.document;
    const pages = this.reachable();
    const many = doc?.pages.length > 1;
    byId("previous").disabled = !page || page === pages[0];
    byId("next").disabled = !page || page === pages.at(-1);
    byId("page-title").textContent = many
      ? `${doc.name}, page ${page.page} of ${doc.pages.length}`
      : (doc?.name ?? "");
    const ids = page && this.visibleBoxes(page).map(({ id }) => id);
    const { classes } = this.thresholds;
    const said = page && [page.key, page.width, doc.state, doc.check, errorOf(page), ids, classes];
    if (JSON.stringify(said) !== this.said) {
      this.said = JSON.stringify(said);
      this.updateBoxes(page);
      this.updateFound(page);
      this.updateDocument(page);
    }
    this.check.show(doc ?? null, this.documents);
  }

  /** The boxes that the sliders let through. */
  shownBoxes(page) {
    return (page.boxes ?? []).filter((box) => this.thresholds.shows(box));
  }

  /** These, and those that a form's check found in a zone, which may be below the sliders. */
  visibleBoxes(page) {
    const zones = (page.document.check?.zones ?? []).filter(
      (zone) => zone.document_page === page.page,
    );
    const found = zones.flatMap(({ detections }) => detections.map(({ bbox }) => String(bbox)));
    return (page.boxes ?? []).filter(
      (box) => this.thresholds.shows(box) || found.includes(String(box.bbox)),
    );
  }

  updateBoxes(page) {
    if (!page?.boxes) return;
    const zones = (page.document.check?.zones ?? [])
      .filter((zone) => zone.document_page === page.page && zone.polygon)
      .map(({ name, polygon, verdict }) => ({
        id: `zone ${name}`,
        name,
        points: polygon,
        look: verdict,
      }));
    const fields = ofThePdf(page)
      .filter(({ bbox }) => bbox)
      .map(({ id, name, bbox }) => ({ id, name, points: corners(bbox, page), look: "field" }));
    this.stage.outline([...zones, ...fields]);
    this.stage.mark(this.visibleBoxes(page));
  }

  light(id, on) {
    this.stage.light(id, on);
    rowOf(byId("found"), id)?.classList.toggle("lit", on);
  }

  updateFound(page) {
    const root = byId("found");
    const faint = (words) => replace(root, element("p", { class: "faint" }, words));
    if (!page) return faint("No page yet.");
    if (errorOf(page)) {
      const again = () => this.again(page.document);
      const button = element("button", { type: "button", onclick: again }, "Ask again");
      return replace(root, problemBox(errorOf(page), button));
    }
    if (!page.boxes) return faint("Not answered yet.");

    const focused = root.contains(document.activeElement) && document.activeElement.dataset.id;
    const light = (id, on) => this.light(id, on);
    const boxes = this.visibleBoxes(page);
    const rows = boxes.map((box) =>
      boxRow(box, belowAccept(box, this.thresholds), this.thresholds, {
        ...pointing(box.id, light),
        onclick: () => this.stage.reveal(box.id),
      }),
    );
    const fields = ofThePdf(page).map((field) => fieldRow(field, pointing(field.id, light)));
    const below = page.boxes.length - boxes.length;
    const more = element(
      "button",
      { type: "button", class: "quiet more", onclick: () => this.thresholds.setAll("review") },
      `Show ${below} more, below the sliders`,
    );
    const list = foundList([...rows, ...fields], "No marks at these thresholds.");
    replace(root, list, below > 0 && more);
    if (focused) rowOf(root, focused)?.focus({ preventScroll: true });
  }

  updateDocument(page) {
    const root = byId("document");
    if (!page) return replace(root, element("p", { class: "faint" }, "No document yet."));
    const { answer, file, name, milliseconds } = page.document;
    const inLog = answer && element("a", { href: `#log/${answer.sha256}` }, "in the log");
    replace(
      root,
      facts([
        ["File", element("span", { class: "breaks" }, name)],
        ["Size", answer ? `${size(answer.bytes)}, ${answer.kind}` : size(file.size)],
        answer && [
          "SHA-256",
          element("span", { class: "digest-line" }, digest(answer.sha256), inLog),
        ],
        page.width && ["Page", sizeOf(page)],
        answer && ["Model", `${answer.model.name} ${answer.model.version}`],
        page.milliseconds && ["This page", duration(page.milliseconds)],
        milliseconds && ["Document", `${duration(milliseconds)}, with the transfer`],
      ]),
      element(
        "button",
        { type: "button", class: "quiet more", onclick: () => this.remove(page.document) },
        "Remove from the list",
      ),
    );
  }

  checked(doc) {
    if (this.current?.document === doc && !doc.checking)
      announce(`Form check: ${doc.check?.verdict ?? doc.checkProblem.title}`);
    this.refresh();
  }
}
