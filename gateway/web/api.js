// The gateway's routes. Addresses are relative to the page, so that a proxy may give it a prefix.

const KEY = "countersign key"; // in the tab's storage, which ends with the tab
const PATIENCE_S = 120; // a busy gateway is asked again for this long
const LONGEST_WAIT_S = 30;

/** What went wrong, as the problem details (RFC 9457) of the answer say it. */
export class Problem extends Error {
  constructor({ title, detail = "", status = 0, type = "about:blank" }) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { title, detail, status, type });
  }
}

/** Sends `denied` when the gateway asks for a key, or for another. */
export const access = new EventTarget();

/** The key that goes with every request from now on; empty for none. */
export function useKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** Headers with the key, if there is one. */
function withKey(headers = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

/** Any error as a Problem. */
export function problemFrom(error) {
  if (error instanceof Problem) return error;
  if (error instanceof TypeError)
    return new Problem({
      title: "No answer from the gateway",
      detail: "The connection failed. Is it running, and can this machine reach it?",
    });
  return new Problem({
    title: "Something failed in this page",
    detail: String(error?.message ?? error),
  });
}

/** An object of an answer that says an error, as a Problem. */
export const problemIn = (object, status = 0) =>
  new Problem({
    title: typeof object?.title === "string" ? object.title : "The gateway refused",
    detail: typeof object?.detail === "string" ? object.detail : "",
    status: object?.status ?? status,
    type: object?.type,
  });

async function problemOf(response) {
  const text = await response.text().catch(() => "");
  if (/json/.test(response.headers.get("Content-Type") ?? ""))
    try {
      return problemIn(JSON.parse(text), response.status);
    } catch {
      // said to be JSON, and is not: told as the rest below
    }
  return new Problem({
    title: `The gateway answered ${response.status} ${response.statusText}`.trim(),
    detail: text.slice(0, 200),
    status: response.status,
  });
}

/** Seconds that a 429 or 503 asks to wait; null if it does not say. */
function retryAfter(response) {
  if (response.status !== 429 && response.status !== 503) return null;
  const header = response.headers.get("Retry-After");
  if (header === null) return null;
  const seconds = Number(header);
  const wait = Number.isFinite(seconds) ? seconds : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0.2), LONGEST_WAIT_S) : null;
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/**
 * The answer of `path`, whose status is 2xx. A busy gateway (429 or 503 with Retry-After) is
 * asked again after the wait that it names; `onWait(seconds)` is told. Throws a Problem, or the
 * signal's reason when aborted.
 */
export async function ask(path, { query = {}, onWait = () => {}, ...options } = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const address = asked.length ? `${path}?${new URLSearchParams(asked)}` : path;
  const start = performance.now();
  for (;;) {
    let response;
    try {
      response = await fetch(address, { ...options, headers: withKey(options.headers) });
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      throw problemFrom(error);
    }
    if (response.ok) return response;
    if (response.status === 401) access.dispatchEvent(new Event("denied"));
    const wait = retryAfter(response);
    if (wait === null || (performance.now() - start) / 1000 + wait > PATIENCE_S)
      throw await problemOf(response);
    await response.body?.cancel();
    onWait(wait);
    await pause(wait * (1 + Math.random() / 4), options.signal);
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();

const fileBody = (file, headers = {}) => ({
  method: "POST",
  body: file,
  headers: { "Content-Type": file.type || "application/octet-stream", ...headers },
});

/** The JSON objects of an answer of one object a line, as they come. */
async function* objects(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) return;
  }
}

/** Every object about a file's pages, as they get ready: boxes down to the review point. */
export async function* documentAnswers(file, { signal, onWait }) {
  const response = await ask("v1/documents", {
    ...fileBody(file, { Accept: "application/x-ndjson" }),
    query: { operating_point: "review" },
    signal,
    onWait,
  });
  yield* objects(response);
}

export const checkDocument = (file, form, { signal, onWait } = {}) =>
  askJson("v1/check", {
    ...fileBody(file, { Accept: "application/json" }),
    query: { form },
    signal,
    onWait,
  });

/** The picture of a file's page, a Blob. */
export const renderedPage = async (file, page, dpi, signal) =>
  (await ask("v1/render", { ...fileBody(file), query: { page, dpi }, signal })).blob();

/** The picture of a stored page, a Blob. */
export const storedPage = async (sha256, page, signal) =>
  (await ask(`v1/pages/${encodeURIComponent(sha256)}/${page}`, { signal })).blob();

export const detectors = async () => (await askJson("v1/models")).detectors;
export const forms = () => askJson("v1/forms");
export const predictions = (sha256) => askJson(`v1/predictions/${encodeURIComponent(sha256)}`);
export const queue = (why, after) => askJson("v1/queue", { query: { why, after, limit: 50 } });

/** Stores what is truly on a page, over the version that the entry has; answers the new one. */
export const correct = ({ sha256, page, width, height, version }, detections) =>
  askJson("v1/corrections", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sha256, page, width, height, detections, replaces: version ?? 0 }),
  });
