// The prediction log: what the model said about a file, found by the file or by its SHA-256.

import { predictions, problemFrom, storedPage } from "./api.js";
import { verdictChip } from "./check.js";
import { capital, counted, digest, duration, element, moment, problemBox, replace } from "./dom.js";
import { chosen, dropped, sha256 } from "./files.js";
import { Pictures } from "./pictures.js";
import { Stage, zoomButtons } from "./stage.js";
import { swatch } from "./thresholds.js";

const DIGEST = /^[0-9a-f]{64}$/i;

/** Counts per class of a prediction's pages, in words. */
function marksIn(prediction) {
  const counts = new Map();
  for (const page of prediction.pages ?? [])
    for (const each of page.detections ?? [])
      counts.set(each.class, (counts.get(each.class) ?? 0) + 1);
  return [...counts].map(([name, count]) => counted(count, name)).join(", ") || "no marks";
}

export class Log {
  constructor(root, thresholds, fileOf) {
    Object.assign(this, { root, thresholds, fileOf, found: [], prediction: null, page: null });
    this.files = new Map(); // SHA-256 -> file
    this.pictures = new Pictures();
    this.build();
    this.stage = new Stage(this.view, { onLight: (id, on) => this.light(id, on) });
    this.zoom.append(zoomButtons(this.stage));
    this.draw();
  }

  build() {
    this.input = element("input", {
      id: "digest",
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "64 hexadecimal digits",
      "aria-describedby": "digest-note",
    });
    this.file = element("input", {
      type: "file",
      hidden: true,
      onchange: () => this.take(chosen(this.file).pages[0]),
    });
    const form = element(
      "form",
      {
        class: "find",
        onsubmit: (event) => {
          event.preventDefault();
          this.go(this.input.value.trim());
        },
      },
      element("label", { for: "digest" }, "SHA-256"),
      this.input,
      element(
        "div",
        { class: "buttons" },
        element("button", { type: "submit", class: "primary" }, "Find"),
        element("button", { type: "button", onclick: () => this.file.click() }, "Choose a file"),
        this.file,
      ),
      element(
        "p",
        { id: "digest-note", class: "small" },
        "Or drop the file here. Its digest is computed in the browser; the file is not sent.",
      ),
    );
    this.list = element("ol", { class: "pages", "aria-label": "Predictions, newest first" });
    this.foot = element("p", { class: "foot", role: "status" });
    this.view = element("div", {
      class: "stage",
      tabindex: "0",
      role: "group",
      "aria-label": "Page",
    });
    this.title = element("h1", { class: "title" });
    this.zoom = element("span", {});
    this.pageSelect = element("select", {
      "aria-label": "Page",
      onchange: () => this.openPage(Number(this.pageSelect.value)),
    });
    this.facts = element("div", {});
    this.boxes = element("div", {});
    this.corrections = element("div", {});
    this.root.append(
      element("div", { class: "side list-side" }, form, this.list, this.foot),
      element(
        "div",
        { class: "middle" },
        element("div", { class: "toolbar stage-bar" }, this.title, this.pageSelect, this.zoom),
        this.view,
      ),
      element(
        "div",
        { class: "side panel" },
        element("section", {}, element("h2", {}, "Prediction"), this.facts),
        element("section", {}, element("h2", {}, "On this page"), this.boxes),
        element("section", {}, element("h2", {}, "Corrections"), this.corrections),
      ),
    );
  }

  /** Goes to the address of a digest, which finds it. */
  go(text) {
    if (!DIGEST.test(text)) {
      replace(
        this.foot,
        problemBox({
          title: "Not a SHA-256",
          detail: `${text.length} characters, 64 hexadecimal digits are needed.`,
        }),
      );
      this.input.focus();
      return;
    }
    const address = `#log/${text.toLowerCase()}`;
    if (location.hash === address) this.find(text.toLowerCase());
    else location.hash = address;
  }

  async drop(transfer) {
    const { pages } = await dropped(transfer);
    await this.take(pages[0]);
  }

  async take(page) {
    if (!page) return;
    this.foot.textContent = "Computing the digest…";
    try {
      const found = await sha256(page.file);
      this.files.set(found, page.file);
      this.go(found);
    } catch (error) {
      replace(this.foot, problemBox(problemFrom(error)));
    }
  }

  async find(digestText) {
    this.input.value = digestText;
    this.foot.textContent = "Looking…";
    replace(this.list);
    this.found = [];
    this.prediction = null;
    try {
      const answer = await predictions(digestText);
      if (this.input.value !== digestText) return;
      const { stored, corrections } = answer;
      this.found = answer.predictions.map((each) => ({
        ...each,
        sha256: digestText,
        stored,
        corrections,
      }));
      const more = answer.total > this.found.length ? ` of ${answer.total}` : "";
      this.foot.textContent = `${this.found.length}${more} predictions, newest first`;
    } catch (error) {
      replace(this.foot, problemBox(problemFrom(error)));
    }
    replace(this.list, ...this.found.map((each) => element("li", {}, this.row(each))));
    this.open(this.found[0] ?? null);
  }

  row(prediction) {
    prediction.row = element(
      "button",
      { type: "button", class: "row queue-row", onclick: () => this.open(prediction) },
      element(
        "span",
        { class: "row-text" },
        element("span", { class: "row-name" }, moment(prediction.time)),
        element(
          "span",
          { class: "row-marks faint" },
          `${marksIn(prediction)}, ${prediction.model?.name ?? ""} ${prediction.model?.version ?? ""}`,
        ),
      ),
      prediction.check ? verdictChip(prediction.check.verdict) : null,
    );
    return prediction.row;
  }

  open(prediction) {
    this.prediction = prediction;
    for (const each of this.found)
      each.row?.setAttribute("aria-current", String(each === prediction));
    const pages = prediction?.pages ?? [];
    this.pageSelect.hidden = pages.length < 2;
    replace(
      this.pageSelect,
      ...pages.map(({ page }) => element("option", { value: page }, `Page ${page}`)),
    );
    this.openPage(pages[0]?.page);
  }

  openPage(number) {
    this.page = this.prediction?.pages?.find(({ page }) => page === number) ?? null;
    this.draw();
  }

  light(id, on) {
    this.stage.light(id, on);
    this.boxes.querySelector(`[data-id="${CSS.escape(String(id))}"]`)?.classList.toggle("lit", on);
  }

  picture() {
    const { prediction, page } = this;
    const file = this.files.get(prediction.sha256) ?? this.fileOf(prediction.sha256);
    const key = `${prediction.sha256}:${page.page}`;
    if (file) return this.pictures.ofPage(key, file, page);
    if (prediction.stored)
      return this.pictures.address(key, () => storedPage(prediction.sha256, page.page));
    return Promise.reject(
      new Error("The gateway does not store it. Drop its file here to see it."),
    );
  }

  draw() {
    const { prediction, page } = this;
    this.title.textContent = prediction
      ? `${moment(prediction.time)}${page ? `, page ${page.page}` : ""}`
      : "";
    this.root.toggleAttribute("data-none", !prediction);
    const faint = (text) => element("p", { class: "faint" }, text);
    if (!prediction) {
      this.stage.clear();
      replace(this.facts, faint("Nothing found yet."));
      replace(this.boxes, faint("-"));
      replace(this.corrections, faint("-"));
      return;
    }
    const facts = [
      ["Time", moment(prediction.time)],
      ["SHA-256", digest(prediction.sha256)],
      ["Model", `${prediction.model?.name ?? ""} ${prediction.model?.version ?? ""}`],
      prediction.operating_point && ["Point", prediction.operating_point],
      prediction.caller && ["Asked by", prediction.caller],
      prediction.milliseconds && ["Took", duration(prediction.milliseconds)],
      ["Pages", String(prediction.page_count ?? prediction.pages?.length ?? "")],
      prediction.check && [
        "Check",
        element("span", {}, `${prediction.check.form} `, verdictChip(prediction.check.verdict)),
      ],
      ["Stored", prediction.stored ? "yes" : "no, boxes only"],
    ].filter(Boolean);
    replace(
      this.facts,
      element(
        "dl",
        {},
        ...facts.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
      ),
    );
    if (page?.error) replace(this.boxes, problemBox(page.error));
    else {
      const rows = (page?.detections ?? []).map((box, id) =>
        element(
          "li",
          {},
          element(
            "button",
            {
              type: "button",
              class: "found-row",
              "data-id": id,
              onclick: () => this.stage.reveal(id),
              onmouseenter: () => this.light(id, true),
              onmouseleave: () => this.light(id, false),
              onfocus: () => this.light(id, true),
              onblur: () => this.light(id, false),
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
      replace(
        this.boxes,
        rows.length > 0 ? element("ul", { class: "found-list" }, ...rows) : faint("No marks."),
      );
    }
    const corrections = prediction.corrections ?? [];
    replace(
      this.corrections,
      ...(corrections.length > 0
        ? corrections.map((each) =>
            element(
              "p",
              {},
              `Page ${each.page}: ${counted(each.detections.length, "box")}`,
              element(
                "span",
                { class: "faint" },
                ` ${moment(each.time)}${each.caller ? `, ${each.caller}` : ""}`,
              ),
            ),
          )
        : [faint("None.")]),
    );
    if (!page?.width) {
      this.stage.clear();
      return;
    }
    this.stage.show(
      `${prediction.sha256}:${page.page}:${prediction.time}`,
      page,
      `Page ${page.page}`,
      this.picture(),
    );
    this.stage.outline([]);
    this.stage.mark(
      (page.detections ?? []).map((box, id) => ({
        id,
        name: box.class,
        score: box.confidence,
        bbox: box.bbox,
        colour: this.thresholds.colour(box.class),
        look: this.thresholds.accepts(box) ? "" : "unsure",
      })),
    );
  }

  key(event) {
    const keys = {
      "+": () => this.stage.larger(),
      "=": () => this.stage.larger(),
      "-": () => this.stage.smaller(),
      0: () => this.stage.zoomBy(null),
    };
    if (!(event.key in keys)) return false;
    keys[event.key]();
    return true;
  }
}
