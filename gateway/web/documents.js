// The view of documents: files in, pages with their boxes, what lies on each, a form's check.

import { documentAnswers, problemFrom, problemIn } from "./api.js";
import { CheckPanel, verdictChip } from "./check.js";
import {
  announce,
  byId,
  capital,
  counted,
  digest,
  duration,
  element,
  drawing,
  oncePerFrame,
  problemBox,
  replace,
  save,
  scrollWithin,
  size,
} from "./dom.js";
import { chosen, dropped } from "./files.js";
import { drawThumbnail, limiter, Pictures } from "./pictures.js";
import { Stage, zoomButtons } from "./stage.js";
import { chips, sliders, swatch, tally } from "./thresholds.js";

const IN_FLIGHT = 3; // documents; the gateway runs the pages of each in parallel
const NEAR_PX = 600; // thumbnails this far outside the list's window are drawn already

const FILTERS = {
  all: ["All pages", () => true],
  marks: ["With marks", (page, counts) => counts.shown.length > 0],
  none: ["Without marks", (page, counts) => page.detections && counts.shown.length === 0],
  below: ["With boxes below the sliders", (page, counts) => counts.below > 0],
  failed: ["With errors", (page) => Boolean(page.error)],
};

const median = (values) => [...values].sort((one, other) => one - other)[values.length >> 1];

/** A box of a page in points as one in pixels. */
const inPixels = ([x0, y0, x1, y1], page) => {
  const [across, down] = [page.width / page.width_points, page.height / page.height_points];
  return [x0 * across, y0 * down, x1 * across, y1 * down];
};

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

const corners = ([x0, y0, x1, y1]) => [
  [x0, y0],
  [x1, y0],
  [x1, y1],
  [x0, y1],
];

/** A field of CSV; what a spreadsheet would take for a formula begins with an apostrophe. */
const csvField = (value) => {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

export class Documents {
  constructor(thresholds) {
    this.thresholds = thresholds;
    this.documents = [];
    this.current = null; // a page
    this.abort = new AbortController();
    this.inFlight = limiter(IN_FLIGHT);
    this.pictures = new Pictures();
    this.started = this.finished = null; // of the batch, ms
    this.stage = new Stage(byId("stage"), {
      onPick: (id) => scrollWithin(byId("panel"), this.row(id)),
      onLight: (id, on) => this.light(id, on),
    });
    byId("zoom").append(zoomButtons(this.stage));
    sliders(byId("sliders"), thresholds);
    this.check = new CheckPanel(byId("check"), {
      onResult: (doc) => this.checked(doc),
      onZone: (zone) => this.goToZone(zone),
      onLight: (id, on) => this.stage.light(id, on),
    });
    this.refresh = oncePerFrame(() => this.update());
    thresholds.addEventListener("change", this.refresh);
    this.watch = new IntersectionObserver(
      (entries) => entries.forEach((entry) => this.seen(entry)),
      {
        root: byId("pages"),
        rootMargin: `${NEAR_PX}px`,
      },
    );
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
    byId("filter").append(
      ...Object.entries(FILTERS).map(([value, [text]]) => element("option", { value }, text)),
    );
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
      this.step(steps[event.key], true);
    });
  }

  /** Keys of the whole view; true if one was meant. */
  key(event) {
    const keys = {
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      "+": () => this.stage.larger(),
      "=": () => this.stage.larger(),
      "-": () => this.stage.smaller(),
      0: () => this.stage.zoomBy(null),
      a: () => this.thresholds.setAll("accept"),
      r: () => this.thresholds.setAll("review"),
    };
    if (!(event.key in keys)) return false;
    keys[event.key]();
    return true;
  }

  async drop(transfer) {
    this.add(await dropped(transfer));
  }

  add({ pages, leftOut }) {
    if (leftOut > 0) announce(`${counted(leftOut, "file")} left out`);
    this.leftOut = (this.leftOut ?? 0) + leftOut;
    if (this.finished || !this.started) {
      this.started = performance.now(); // of a new batch
      this.finished = null;
      this.answeredBefore = this.everyPage().filter((page) => page.detections || page.error).length;
    }
    for (const { file, name } of pages) {
      const made = {
        id: crypto.getRandomValues(new Uint32Array(1))[0],
        file,
        name,
        state: "waiting",
        pages: [],
        answered: 0,
      };
      this.documents.push(made);
      this.drawDocument(made);
      this.send(made);
    }
    byId("documents").toggleAttribute("data-empty", this.documents.length === 0);
    if (!this.current && this.documents.length > 0) this.select(this.documents[0].pages[0]);
    this.refresh();
  }

  empty() {
    this.abort.abort(new DOMException("cleared", "AbortError"));
    this.abort = new AbortController();
    for (const page of this.everyPage()) page.drawing?.abort();
    this.watch.disconnect();
    this.pictures.clear();
    this.documents = [];
    this.current = this.started = this.finished = null;
    this.leftOut = 0;
    replace(byId("pages"));
    byId("documents").toggleAttribute("data-empty", true);
    this.stage.clear();
    this.refresh();
  }

  everyPage() {
    return this.documents.flatMap((doc) => doc.pages);
  }

  // Asking

  send(doc) {
    const { signal } = this.abort;
    for (const { row } of doc.pages) this.watch.unobserve(row);
    Object.assign(doc, { state: "waiting", problem: null, answer: null, answered: 0 });
    doc.pages = [this.newPage(doc, 1)];
    this.drawPages(doc);
    this.inFlight(() => this.ask(doc, signal), signal).catch(() => {}); // cleared before its turn
  }

  async ask(doc, signal) {
    const start = performance.now();
    doc.state = "asking";
    this.refresh();
    const onWait = () => {
      doc.state = "busy";
      this.refresh();
    };
    try {
      for await (const object of documentAnswers(doc.file, { signal, onWait })) {
        doc.state = "asking";
        if (object.page !== undefined) this.takePage(doc, object);
        else if (object.error) throw problemIn(object.error);
        else if (!object.done) this.takeHead(doc, object);
      }
      this.giveUp(doc, {
        title: "No answer for this page",
        detail: "The gateway's answer ended before it.",
      });
      doc.state = "done";
    } catch (error) {
      if (signal.aborted) return;
      doc.state = doc.answer ? "done" : "failed";
      if (doc.answer) this.giveUp(doc, problemFrom(error));
      else doc.problem = problemFrom(error);
    }
    doc.milliseconds = performance.now() - start;
    if (this.current?.document === doc) this.showPage();
    if (this.documents.every(({ state }) => state === "done" || state === "failed"))
      this.finished = performance.now();
    this.refresh();
  }

  /** Gives the pages that have no answer an error instead. */
  giveUp(doc, error) {
    for (const page of doc.pages) if (!page.detections && !page.error) page.error = error;
  }

  newPage(doc, number) {
    return { document: doc, page: number, key: `${doc.id}:${number}` };
  }

  takeHead(doc, head) {
    doc.answer = head;
    const numbers = Array.from({ length: head.page_count ?? 1 }, (_, index) => index + 1);
    doc.pages = numbers.map((number) => doc.pages[number - 1] ?? this.newPage(doc, number));
    this.drawPages(doc);
  }

  takePage(doc, answer) {
    const page = doc.pages[answer.page - 1];
    if (!page) return;
    Object.assign(page, answer);
    page.detections?.sort((one, other) => other.confidence - one.confidence);
    doc.answered += 1;
    if (page === this.current) this.showPage();
    this.refresh();
  }

  // The list

  drawDocument(doc) {
    doc.head = element("div", { class: "document-head" });
    doc.list = element("ol", { class: "document-pages" });
    doc.item = element("li", { class: "document" }, doc.head, doc.list);
    byId("pages").append(doc.item);
  }

  drawPages(doc) {
    replace(
      doc.list,
      ...doc.pages.map((page) => {
        if (!page.row) {
          page.canvas = element("canvas", { width: 0, height: 0, "aria-hidden": "true" });
          page.outlines = drawing("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
          page.label = element("span", { class: "row-name" });
          page.marks = element("span", { class: "row-marks" });
          page.time = element("span", { class: "row-time" });
          page.row = element(
            "button",
            {
              type: "button",
              class: "row",
              tabindex: "-1",
              onclick: () => this.select(page),
              onfocus: () => this.select(page),
            },
            element("span", { class: "thumb" }, element("span", {}, page.canvas, page.outlines)),
            element("span", { class: "row-text" }, page.label, page.marks),
            page.time,
          );
          page.item = element("li", {}, page.row);
          page.row.page = page;
          this.watch.observe(page.row);
        }
        return page.item;
      }),
    );
    doc.item.toggleAttribute("data-many", doc.pages.length > 1);
  }

  /** Draws a row's thumbnail when it comes near the window, and lets it go when it is far. */
  seen({ target, isIntersecting }) {
    const { page } = target;
    page.near = isIntersecting;
    if (isIntersecting) this.thumbnail(page);
    else {
      page.drawing?.abort();
      page.drawing = null;
      page.canvas.width = page.canvas.height = 0;
    }
  }

  thumbnail(page) {
    if (page.drawing || !page.near || !page.width) return; // before its answer nothing is drawn
    page.drawing = new AbortController();
    drawThumbnail(page.canvas, page.document.file, page, page.drawing.signal).catch(() => {});
  }

  /** Brings every row, the progress and the current page in line with answers and sliders. */
  update() {
    const [, wanted] = FILTERS[byId("filter").value] ?? FILTERS.all;
    const totals = { pages: 0, answered: 0, failed: 0, shown: 0 };
    const times = [];
    for (const doc of this.documents) {
      let any = false;
      for (const page of doc.pages) {
        page.counts = tally(page.detections ?? [], this.thresholds);
        page.shown =
          wanted(page, page.counts) || (page.document.problem && byId("filter").value === "failed");
        any ||= page.shown;
        this.updateRow(page);
        totals.pages += 1;
        totals.shown += page.shown ? 1 : 0;
        totals.answered += page.detections || page.error || doc.problem ? 1 : 0;
        totals.failed += page.error || doc.problem ? 1 : 0;
        if (page.milliseconds) times.push(page.milliseconds);
      }
      doc.item.hidden = !any;
      this.updateHead(doc);
    }
    this.updateProgress(totals, times);
    this.updateCurrent();
  }

  updateRow(page) {
    const { document: doc, counts } = page;
    const many = doc.pages.length > 1;
    const error = page.error ?? doc.problem;
    const words = error
      ? error.detail || error.title
      : page.detections
        ? ""
        : { waiting: "waiting", asking: "in work", busy: "gateway busy, waiting", failed: "" }[
            doc.state
          ];
    const said = JSON.stringify([
      many,
      words,
      counts.shown,
      counts.below,
      page.milliseconds,
      doc.check?.verdict,
    ]);
    page.item.hidden = !page.shown;
    page.row.tabIndex = page === this.current ? 0 : -1;
    page.row.setAttribute("aria-current", String(page === this.current));
    this.thumbnail(page);
    if (said === page.said) return;
    page.said = said;
    page.label.textContent = many ? `Page ${page.page}` : doc.name;
    page.label.title = doc.name;
    replace(
      page.marks,
      ...(words
        ? [element("span", { class: error ? "bad clipped" : "faint", title: words }, words)]
        : chips(counts, this.thresholds)),
      ...(!many && doc.check ? [verdictChip(doc.check.verdict)] : []),
    );
    page.time.textContent = page.milliseconds ? duration(page.milliseconds) : "";
    if (page.width) this.outline(page);
  }

  /** The boxes over a page's thumbnail. */
  outline(page) {
    page.outlines.setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
    replace(
      page.outlines,
      ...this.shownBoxes(page).map(({ class: name, bbox: [x, y, x1, y1] }) =>
        drawing("rect", {
          x,
          y,
          width: x1 - x,
          height: y1 - y,
          class: this.thresholds.colour(name),
        }),
      ),
    );
  }

  updateHead(doc) {
    if (doc.pages.length < 2) return;
    const said = JSON.stringify([doc.answered, doc.state, doc.check?.verdict]);
    if (said === doc.said) return;
    doc.said = said;
    const total = doc.pages.length;
    replace(
      doc.head,
      element("span", { class: "document-name", title: doc.name }, doc.name),
      doc.check ? verdictChip(doc.check.verdict) : null,
      element(
        "span",
        { class: "row-time" },
        doc.answered < total ? `${doc.answered} of ${total}` : counted(total, "page"),
      ),
    );
  }

  updateProgress({ pages, answered, failed, shown }, times) {
    const seconds = ((this.finished ?? performance.now()) - this.started) / 1000;
    const batch = answered - this.answeredBefore;
    const parts = [
      answered < pages ? `${answered} of ${counted(pages, "page")}` : counted(pages, "page"),
      shown < pages && `${shown} shown`,
      failed > 0 && `${failed} with errors`,
      times.length > 0 && `median ${duration(median(times))}`,
      batch > 1 && seconds > 0 && `${(batch / seconds).toFixed(1)} pages/s`,
      this.leftOut > 0 && `${counted(this.leftOut, "file")} left out`,
    ];
    byId("progress").textContent = pages || this.leftOut ? parts.filter(Boolean).join(" · ") : "";
    byId("save").disabled = byId("clear").disabled = pages === 0;
  }

  // The page

  select(page) {
    if (!page || page === this.current) return;
    const before = this.current;
    this.current = page;
    for (const each of [before, page])
      if (each) {
        each.row.tabIndex = each === page ? 0 : -1;
        each.row.setAttribute("aria-current", String(each === page));
      }
    scrollWithin(byId("pages"), page.row);
    this.showPage();
    this.updateCurrent();
  }

  /** Goes some pages on among those that the filter shows; takes the focus along if it is there. */
  step(by, focus = false) {
    const pages = this.everyPage().filter((page) => page.shown || page === this.current);
    if (pages.length === 0) return;
    const place = Math.min(pages.length - 1, Math.max(0, pages.indexOf(this.current) + by));
    this.select(pages[place]);
    if (focus) this.current.row.focus({ preventScroll: true });
  }

  showPage() {
    const page = this.current;
    if (!page?.width) {
      const problem = page && (page.error ?? page.document.problem);
      this.stage.clear(problem ? problem.detail || problem.title : page ? "Not answered yet." : "");
      return;
    }
    const label = `Page ${page.page} of ${page.document.name}`;
    this.stage.show(
      page.key,
      page,
      label,
      this.pictures.ofPage(page.key, page.document.file, page),
    );
  }

  updateCurrent() {
    const page = this.current;
    const pages = this.everyPage().filter((each) => each.shown || each === page);
    const place = pages.indexOf(page);
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place >= pages.length - 1;
    byId("page-title").textContent = !page
      ? ""
      : page.document.pages.length > 1
        ? `${page.document.name}, page ${page.page} of ${page.document.pages.length}`
        : page.document.name;
    const said =
      page &&
      JSON.stringify([
        page.key,
        page.width,
        this.shownBoxes(page).map(({ id }) => id),
        page.document.check,
        page.error,
        page.document.problem,
        page.document.state,
        this.thresholds.classes.length,
      ]);
    if (said !== this.said) {
      this.said = said;
      this.updateBoxes();
      this.updateFound();
    }
    this.updateDocument();
    this.check.show(page?.document ?? null, page, this.documents);
  }

  /** The boxes that the sliders let through, each with its place among the page's detections. */
  shownBoxes(page) {
    return (page?.detections ?? [])
      .map((detection, id) => ({ ...detection, id }))
      .filter((box) => this.thresholds.shows(box));
  }

  updateBoxes() {
    const page = this.current;
    if (!page?.detections || !page.width) return;
    const zones = (page.document.check?.zones ?? []).filter(
      (zone) => zone.document_page === page.page && zone.polygon,
    );
    this.stage.outline([
      ...zones.map((zone) => ({
        id: `zone ${zone.name}`,
        name: zone.name,
        points: zone.polygon,
        look: zone.verdict,
      })),
      ...ofThePdf(page)
        .filter(({ bbox }) => bbox)
        .map(({ id, name, bbox }) => ({
          id,
          name,
          points: corners(inPixels(bbox, page)),
          look: "field",
        })),
    ]);
    this.stage.mark(
      this.shownBoxes(page).map((box) => ({
        id: box.id,
        name: box.class,
        score: box.confidence,
        bbox: box.bbox,
        colour: this.thresholds.colour(box.class),
        look: this.thresholds.accepts(box) ? "" : "unsure",
      })),
    );
  }

  row(id) {
    return byId("found").querySelector(`[data-id="${CSS.escape(String(id))}"]`);
  }

  light(id, on) {
    this.stage.light(id, on);
    this.row(id)?.classList.toggle("lit", on);
  }

  updateFound() {
    const page = this.current;
    const root = byId("found");
    if (!page) {
      replace(root, element("p", { class: "faint" }, "No page yet."));
      return;
    }
    const problem = page.error ?? page.document.problem;
    if (problem) {
      const again = element(
        "button",
        { type: "button", onclick: () => this.again(page.document) },
        "Ask again",
      );
      const said = JSON.stringify([page.key, problem.title, problem.detail]);
      if (root.dataset.said !== said) replace(root, problemBox(problem, again));
      root.dataset.said = said;
      return;
    }
    delete root.dataset.said;
    if (!page.detections) {
      replace(root, element("p", { class: "faint" }, "Not answered yet."));
      return;
    }
    const focused = root.contains(document.activeElement)
      ? document.activeElement.dataset.id
      : null;
    const boxes = this.shownBoxes(page);
    const listen = (id) => ({
      "data-id": id,
      onmouseenter: () => this.light(id, true),
      onmouseleave: () => this.light(id, false),
      onfocus: () => this.light(id, true),
      onblur: () => this.light(id, false),
    });
    const rows = boxes.map((box) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            type: "button",
            class: "found-row",
            ...listen(box.id),
            onclick: () => this.stage.reveal(box.id),
          },
          swatch(box.class, this.thresholds),
          element(
            "span",
            { class: "found-name" },
            capital(box.class),
            !this.thresholds.accepts(box) && element("span", { class: "faint" }, " below accept"),
          ),
          element("span", { class: "score" }, box.confidence.toFixed(2)),
        ),
      ),
    );
    const fields = ofThePdf(page).map(({ id, name, state }) =>
      element(
        "li",
        {},
        element(
          "button",
          { type: "button", class: "found-row", ...listen(id) },
          element("span", { class: "swatch field", "aria-hidden": "true" }),
          element("span", { class: "found-name" }, name),
          element("span", { class: "faint" }, state),
        ),
      ),
    );
    const below = page.detections.length - boxes.length;
    replace(
      root,
      rows.length + fields.length > 0
        ? element("ul", { class: "found-list" }, ...rows, ...fields)
        : element("p", { class: "faint" }, "No marks at these thresholds."),
      below > 0
        ? element(
            "button",
            {
              type: "button",
              class: "quiet more",
              onclick: () => this.thresholds.setAll("review"),
            },
            `Show ${below} more, below the sliders`,
          )
        : "",
    );
    if (focused !== null) this.row(focused)?.focus({ preventScroll: true });
  }

  updateDocument() {
    const root = byId("document");
    const doc = this.current?.document;
    const said = doc
      ? JSON.stringify([doc.id, doc.state, this.current.page, this.current.width])
      : "";
    if (said === root.dataset.said) return;
    root.dataset.said = said;
    if (!doc) {
      replace(root, element("p", { class: "faint" }, "No document yet."));
      return;
    }
    const { answer, file } = doc;
    const page = this.current;
    const model = answer?.model && `${answer.model.name} ${answer.model.version}`;
    const facts = [
      ["File", element("span", { class: "breaks" }, doc.name)],
      ["Size", `${size(answer?.bytes ?? file.size)}${answer?.kind ? `, ${answer.kind}` : ""}`],
      answer?.sha256 && [
        "SHA-256",
        element(
          "span",
          { class: "digest-line" },
          digest(answer.sha256),
          element("a", { href: `#log/${answer.sha256}` }, "in the log"),
        ),
      ],
      page.width && [
        "Page",
        `${page.width} × ${page.height} px${page.width_points ? `, ${Math.round((page.width_points / 72) * 25.4)} × ${Math.round((page.height_points / 72) * 25.4)} mm` : ""}`,
      ],
      model && ["Model", model],
      page.milliseconds && ["This page", duration(page.milliseconds)],
      doc.milliseconds && ["Document", `${duration(doc.milliseconds)}, with the transfer`],
    ].filter(Boolean);
    replace(
      root,
      element(
        "dl",
        {},
        ...facts.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
      ),
    );
  }

  /** Sends what a missing key had refused. */
  allowed() {
    for (const doc of this.documents.filter(({ problem }) => problem?.status === 401))
      this.again(doc);
    this.check.load();
  }

  /** Sends a document again, as one in the list. */
  again(doc) {
    const first = this.current?.document === doc;
    for (const page of doc.pages) page.drawing?.abort();
    doc.check = null;
    doc.said = null;
    this.send(doc);
    if (first) {
      this.current = null;
      this.select(doc.pages[0]);
    }
    this.refresh();
  }

  // Checks

  checked(doc) {
    if (this.current?.document === doc) {
      announce(`Form check: ${doc.check?.verdict ?? doc.checkProblem?.title}`);
    }
    this.refresh();
  }

  goToZone(zone) {
    const page = this.current?.document.pages[zone.document_page - 1];
    if (page) this.select(page);
  }

  // Out

  /** A row a box that the sliders show, and a row a page without any. */
  saveCsv() {
    const head = [
      "file",
      "page",
      "class",
      "confidence",
      "x0",
      "y0",
      "x1",
      "y1",
      "error",
      "sha256",
      "check",
    ];
    const rows = [head];
    for (const doc of this.documents)
      for (const page of doc.pages) {
        const error = page.error ?? doc.problem;
        const tail = [
          error ? error.detail || error.title : "",
          doc.answer?.sha256,
          doc.check?.verdict,
        ];
        const boxes = this.shownBoxes(page);
        if (boxes.length === 0) rows.push([doc.name, page.page, "", "", "", "", "", "", ...tail]);
        for (const box of boxes)
          rows.push([doc.name, page.page, box.class, box.confidence, ...box.bbox, ...tail]);
      }
    save(
      "countersign.csv",
      "text/csv",
      rows.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n",
    );
    announce(`Saved ${counted(rows.length - 1, "row")}`);
  }
}
