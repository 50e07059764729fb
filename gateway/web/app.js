// The page: which view is shown, what is dropped where, which keys mean what.

import { access, detectors, problemFrom, useKey } from "./api.js";
import { announce, byId } from "./dom.js";
import { Documents } from "./documents.js";
import { Log } from "./log.js";
import { KnownPictures } from "./pictures.js";
import { Queue } from "./queue.js";
import { Thresholds } from "./thresholds.js";

const ASK_AGAIN_MS = 10_000;
const NAMES = { documents: "Documents", queue: "Review queue", log: "Log" };

const NO_KEYS = "countersign no single keys"; // in the browser's storage, if they are switched off

const thresholds = new Thresholds();
const documents = new Documents(thresholds);
const fileOf = (sha256) =>
  documents.documents.find(({ answer }) => answer?.sha256 === sha256)?.file;
const pictures = new KnownPictures(fileOf);
const views = {
  documents,
  queue: new Queue(thresholds, pictures),
  log: new Log(thresholds, pictures),
};
let shown = null;

function route() {
  const [name, argument] = location.hash.slice(1).split("/");
  const wanted = name in views ? name : "documents";
  for (const key of Object.keys(views)) byId(key).hidden = key !== wanted;
  for (const link of document.querySelectorAll("nav a"))
    link.setAttribute("aria-current", link.hash === `#${wanted}` ? "page" : "false");
  document.title = `${NAMES[wanted]} - countersign`;
  if (wanted === "queue" && shown !== "queue" && !views.queue.unsaved) views.queue.load();
  if (wanted === "log" && argument) views.log.find(argument);
  shown = wanted;
}

async function loadModels() {
  const note = byId("model");
  try {
    const known = await detectors();
    const detector = known.find(({ name }) => name === "document_detector") ?? known[0];
    if (!detector) throw new Error("The gateway has no detector.");
    thresholds.take(detector);
    note.textContent = `${detector.name} ${detector.version}`;
    note.classList.remove("bad");
  } catch (error) {
    note.textContent = problemFrom(error).message;
    note.classList.add("bad");
    if (error.status !== 401) setTimeout(loadModels, ASK_AGAIN_MS);
  }
}

/** Whether a key belongs to the element that has the focus, and not to the view. */
function typing({ key, target }) {
  if (target.type === "range") return key?.length > 1; // the arrows move a slider
  return target.closest("input:not([type=checkbox]), select, dialog") !== null;
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || typing(event))
      return;
    if (event.key.length === 1 && localStorage.getItem(NO_KEYS)) return;
    if (event.key === "?") byId("keys").showModal();
    else if (!views[shown].key(event)) return;
    event.preventDefault();
  });
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
  const single = byId("single-keys");
  single.checked = !localStorage.getItem(NO_KEYS);
  single.addEventListener("change", () =>
    single.checked ? localStorage.removeItem(NO_KEYS) : localStorage.setItem(NO_KEYS, "1"),
  );
  for (const button of document.querySelectorAll("[data-close]"))
    button.addEventListener("click", () => button.closest("dialog").close());
}

function listenToDrops() {
  const veil = byId("veil");
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0; // of elements that the drag has entered and not left
  const cover = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
    veil.firstElementChild.textContent = {
      documents: "Drop to add",
      queue: "Drop to see its pages",
      log: "Drop to find it",
    }[shown];
  };
  const take = (transfer) =>
    views[shown].drop(transfer).catch((error) => announce(problemFrom(error).message));
  addEventListener("dragenter", (event) => carriesFiles(event) && cover(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && cover(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    cover(-depth);
    take(event.dataTransfer);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length > 0 && !typing(event)) take(event.clipboardData);
  });
}

/** Asks for a key when the gateway wants one, and then for all that it had refused. */
function listenToAccess() {
  const dialog = byId("access");
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    byId("key").value = "";
    dialog.close();
    loadModels();
    documents.allowed();
    shown = null;
    route();
  });
  access.addEventListener("denied", () => dialog.open || dialog.showModal());
}

addEventListener("beforeunload", (event) => views.queue.unsaved && event.preventDefault());
listenToAccess();
listenToKeys();
listenToDrops();
addEventListener("hashchange", route);
route();
loadModels();
