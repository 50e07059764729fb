// A form's check: is each mark where it belongs, and if not, why?

import { checkDocument, forms, problemFrom } from "./api.js";
import { element, problemBox, replace, spoken } from "./dom.js";
import { pointing } from "./found.js";
import { limiter } from "./pictures.js";

const SIGNS = { complete: "✓", missing: "✕", review: "?", empty: "–" };
const WORDS = {
  complete: "Complete",
  missing: "Missing",
  review: "To review",
  empty: "Empty",
  checking: "Checking…",
  failed: "Check failed",
};
const checks = limiter(2);

/** A verdict as a small chip. */
export const verdictChip = (verdict) =>
  element(
    "span",
    { class: `verdict ${verdict}` },
    element("span", { "aria-hidden": "true" }, `${SIGNS[verdict] ?? ""} `),
    WORDS[verdict] ?? verdict,
  );

/** The verdict of a document, "checking" while it is asked for, undefined without a check. */
export const verdictOf = (doc) =>
  doc.checking ? "checking" : doc.checkProblem ? "failed" : doc.check?.verdict;

/** What a zone asks for: "2 signature, page 1, optional". */
const describe = ({ class: name, count, page, required }) =>
  [count > 1 ? `${count} ${name}` : name, `page ${page}`, required === false && "optional"]
    .filter(Boolean)
    .join(", ");

/**
 * The panel of the current document. `onChange(doc)` is told when `doc.checking`, `doc.check` or
 * `doc.checkProblem` have changed, `onZone(zone)` which zone was chosen, `onLight(id, on)` which
 * is pointed at.
 */
export class CheckPanel {
  constructor(root, { onChange, onZone, onLight }) {
    Object.assign(this, { onChange, onZone, onLight, document: null, documents: [] });
    this.select = element("select", { id: "form", "aria-label": "Form" });
    this.one = element(
      "button",
      { type: "button", onclick: () => this.run([this.document]) },
      "Check",
    );
    this.all = element(
      "button",
      { type: "button", onclick: () => this.run(this.documents) },
      "Check all",
    );
    this.bar = element(
      "div",
      { class: "check-bar", hidden: true },
      this.select,
      element("div", { class: "buttons" }, this.one, this.all),
    );
    this.note = element("div", {});
    this.result = element("div", {});
    root.append(this.bar, this.note, this.result);
    this.load();
  }

  async load() {
    try {
      const { forms: good, broken } = await forms();
      const options = good.map(({ name, title }) =>
        element("option", { value: name }, title || name),
      );
      const faults = broken.map(({ name, why }) =>
        problemBox({ title: `${name} cannot be used`, detail: why }),
      );
      this.bar.hidden = good.length === 0;
      replace(this.select, ...options);
      replace(
        this.note,
        ...faults,
        good.length === 0 && element("p", { class: "faint" }, "The gateway knows no forms."),
      );
    } catch (error) {
      replace(this.note, problemBox(problemFrom(error)));
    }
  }

  async run(documents) {
    const form = this.select.value;
    const ready = documents.filter((doc) => doc && doc.state !== "failed" && !doc.checking);
    await Promise.all(
      ready.map(async (doc) => {
        Object.assign(doc, { checking: true, check: null, checkProblem: null });
        this.onChange(doc);
        try {
          doc.check = (await checks(() => checkDocument(doc.file, form))).check;
        } catch (error) {
          doc.checkProblem = problemFrom(error);
        }
        doc.checking = false;
        this.onChange(doc);
      }),
    );
  }

  show(doc, documents) {
    Object.assign(this, { document: doc, documents });
    this.one.disabled = !doc || doc.state === "failed";
    this.all.disabled = documents.length === 0;
    this.all.hidden = documents.length < 2;
    this.draw();
  }

  draw() {
    const { document: doc } = this;
    const said = doc
      ? JSON.stringify([doc.id, doc.checking, doc.check, doc.checkProblem?.message])
      : "";
    if (said === this.said) return;
    this.said = said;
    if (!doc) replace(this.result);
    else if (doc.checking) replace(this.result, element("p", { class: "faint" }, "Checking…"));
    else if (doc.checkProblem) replace(this.result, problemBox(doc.checkProblem));
    else if (doc.check) replace(this.result, ...this.verdict(doc.check));
    else replace(this.result);
  }

  verdict(check) {
    // what `why` has said already is not said again
    const strays = check.pages.filter(
      ({ matched, why }) => !matched && !(why && check.why.includes(why)),
    );
    const extra = check.extra_pages;
    return [
      element(
        "p",
        { class: `verdict-line ${check.verdict}` },
        verdictChip(check.verdict),
        check.why && ` ${check.why}`,
      ),
      ...strays.map(({ page, why }) =>
        element("p", { class: "bad" }, `Page ${page} of the form: ${why || "not found"}`),
      ),
      extra.length > 0 &&
        element("p", { class: "faint" }, `Not of this form: page ${extra.join(", ")}.`),
      element("ul", { class: "zones-list" }, ...check.zones.map((zone) => this.zone(zone))),
    ];
  }

  zone(zone) {
    const id = `zone ${zone.name}`;
    return element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: `zone-row ${zone.verdict}`,
          onclick: () => {
            this.onZone(zone);
            this.onLight(id, true);
          },
          ...pointing(id, this.onLight),
        },
        element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[zone.verdict] ?? ""),
        spoken(`${WORDS[zone.verdict] ?? zone.verdict}: `),
        element(
          "span",
          { class: "zone-text" },
          element(
            "span",
            { class: "zone-name" },
            zone.name,
            element("span", { class: "faint" }, ` ${describe(zone)}`),
          ),
          element("span", { class: "zone-why" }, zone.why ?? ""),
        ),
        zone.detections?.length > 0 &&
          element(
            "span",
            { class: "score" },
            zone.detections.map(({ confidence }) => confidence.toFixed(2)).join(" "),
          ),
      ),
    );
  }
}
