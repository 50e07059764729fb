// The prediction log: what the model said about a file, found by the file or by its SHA-256.

import { pause, predictions, problemFrom } from "./api.js";
import { verdictChip } from "./check.js";
import { byId, counted, digest, duration, element, moment, problemBox, replace } from "./dom.js";
import { chosen, dropped, sha256 } from "./files.js";
import { belowAccept, boxRow, facts, foundList, pointing, rowOf } from "./found.js";
import { Stage, zoomButtons } from "./stage.js";
import { boxesOf } from "./thresholds.js";

const SOON_S = 1.2;
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
  /** `pictures` are KnownPictures. */
  constructor(thresholds, pictures) {
    Object.assign(this, { thresholds, pictures });
    this.found = [];
    this.prediction = this.page = null;
    this.input = byId("digest");
    this.foot = byId("log-foot");
    this.boxes = byId("log-boxes");
    this.stage = new Stage(byId("log-stage"), thresholds, {
      onLight: (id, on) => this.light(id, on),
    });
    byId("log-zoom").append(zoomButtons(this.stage));
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.go(this.input.value.trim());
    });
    const file = byId("log-file");
    byId("log-choose").addEventListener("click", () => file.click());
    file.addEventListener("change", () => this.take(chosen(file).pages[0]));
    byId("log-page").addEventListener("change", ({ target }) =>
      this.openPage(Number(target.value)),
    );
    this.draw();
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
      this.pictures.files.set(found, page.file);
      this.go(found);
    } catch (error) {
      replace(this.foot, problemBox(problemFrom(error)));
    }
  }

  /** What the log has about a file. What this page was just answered is in it a second later. */
  async ask(digestText) {
    try {
      return await predictions(digestText);
    } catch (problem) {
      if (problem.status !== 404 || !this.pictures.fileOf(digestText)) throw problem;
    }
    await pause(SOON_S);
    return predictions(digestText);
  }

  async find(digestText) {
    this.input.value = digestText;
    this.foot.textContent = "Looking…";
    replace(byId("log-found"));
    this.found = [];
    this.prediction = null;
    try {
      const answer = await this.ask(digestText);
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
    replace(byId("log-found"), ...this.found.map((each) => element("li", {}, this.row(each))));
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
          `${marksIn(prediction)} · version ${prediction.model.version}`,
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
    byId("log-page").hidden = pages.length < 2;
    replace(
      byId("log-page"),
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
    rowOf(this.boxes, id)?.classList.toggle("lit", on);
  }

  draw() {
    const { prediction, page } = this;
    const faint = (text) => element("p", { class: "faint" }, text);
    byId("log").toggleAttribute("data-none", !prediction);
    if (!prediction) {
      byId("log-title").textContent = "";
      this.stage.clear("Drop a file, or paste its SHA-256, to see what was answered about it.");
      replace(byId("log-facts"), faint("Nothing found yet."));
      replace(this.boxes);
      replace(byId("log-corrections"));
      return;
    }
    byId("log-title").textContent =
      `${moment(prediction.time)}${page ? `, page ${page.page}` : ""}`;
    const { model, check, corrections } = prediction;
    replace(
      byId("log-facts"),
      facts([
        ["Time", moment(prediction.time)],
        ["SHA-256", digest(prediction.sha256)],
        ["Model", `${model.name} ${model.version}`],
        prediction.operating_point && ["Point", prediction.operating_point],
        ["Asked by", prediction.caller],
        ["Took", duration(prediction.milliseconds)],
        ["Pages", String(prediction.pages.length)],
        check && ["Check", element("span", {}, `${check.form} `, verdictChip(check.verdict))],
        ["Stored", prediction.stored ? "yes" : "no, boxes only"],
      ]),
    );
    replace(this.boxes, page?.error ? problemBox(page.error) : this.boxList(page));
    const words = corrections.map(({ page: number, version, detections, time, caller }) =>
      element(
        "p",
        {},
        `Page ${number}, version ${version}: ${counted(detections.length, "box")}`,
        element("span", { class: "faint" }, ` ${moment(time)}, ${caller}`),
      ),
    );
    replace(byId("log-corrections"), words.length > 0 ? words : faint("None."));
    if (!page?.width) {
      this.stage.clear("No picture of this page.");
      return;
    }
    const known = { ...page, sha256: prediction.sha256, stored: prediction.stored };
    const key = `${this.pictures.key(known)}:${prediction.id}`;
    this.stage.show(key, page, `Page ${page.page}`, this.pictures.address(known));
    this.stage.mark(boxesOf(page.detections ?? []));
  }

  /** The boxes of a page as a list. */
  boxList(page) {
    const rows = boxesOf(page?.detections ?? []).map((box) =>
      boxRow(box, belowAccept(box, this.thresholds), this.thresholds, {
        ...pointing(box.id, (id, on) => this.light(id, on)),
        onclick: () => this.stage.reveal(box.id),
      }),
    );
    return foundList(rows, "No marks.");
  }

  key(event) {
    return this.stage.zoomKey(event);
  }
}
