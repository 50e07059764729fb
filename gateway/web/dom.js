// Elements from data. Text goes in as text: nothing here, or anywhere in this folder, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. `on…` are listeners, `style` an object of CSS
 * properties; null, undefined and false leave an attribute or a child out. Strings become text.
 */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style")
      for (const [property, text] of Object.entries(value)) made.style.setProperty(property, text);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

const present = (children) =>
  children.flat().filter((child) => child !== null && child !== undefined && child !== false);

/** Gives `parent` these children instead of its own. */
export const replace = (parent, ...children) => parent.replaceChildren(...present(children));

export const byId = (id) => document.getElementById(id);

/** Words that only a screen reader says. */
export const spoken = (text) => element("span", { class: "spoken" }, text);

/** A problem as a person reads it: its title, and what the problem details say. */
export function problemBox(problem, ...actions) {
  return element(
    "div",
    { class: "problem", role: "alert" },
    element("strong", {}, problem.title),
    problem.detail && problem.detail !== problem.title && element("p", {}, problem.detail),
    actions.length > 0 && element("div", { class: "buttons" }, ...actions),
  );
}

/** Scrolls `list`, and nothing around it, so that `item` is seen. */
export function scrollWithin(list, item) {
  const [frame, box] = [list.getBoundingClientRect(), item.getBoundingClientRect()];
  if (box.top < frame.top) list.scrollTop -= frame.top - box.top;
  else if (box.bottom > frame.bottom) list.scrollTop += box.bottom - frame.bottom;
  if (box.left < frame.left) list.scrollLeft -= frame.left - box.left;
  else if (box.right > frame.right) list.scrollLeft += box.right - frame.right;
}

/** Says `text` to a screen reader, politely. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Calls `work` once in the next frame, however often it is asked to. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** "1 page", "3 pages", "2 boxes". */
export const counted = (number, noun) =>
  number === 1 ? `1 ${noun}` : `${number} ${noun}${/(s|x|ch)$/.test(noun) ? "es" : "s"}`;

/** A time as a person reads it: "38 ms", "2.4 s". */
export const duration = (milliseconds) =>
  milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;

/** A size in bytes as a person reads it: "812 kB", "3.4 MB". */
export const size = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** A moment in the reader's own time zone and language; the year only if it is another one. */
export function moment(iso) {
  const time = new Date(iso);
  const year = time.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  const form = { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  return time.toLocaleString(undefined, form);
}

/** "signature" as a title begins: "Signature". */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Copies `text`, where the browser lets it; true if it did. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Saves `text` as a file on the reader's machine. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A digest, short, with a button that copies it whole. */
export function digest(sha256) {
  const button = element("button", {
    type: "button",
    class: "quiet digest",
    title: `SHA-256 ${sha256}`,
    "aria-label": `Copy SHA-256 ${sha256}`,
    onclick: async () => {
      const copied = await copy(sha256);
      announce(copied ? "SHA-256 copied" : sha256);
      button.textContent = copied ? "copied" : sha256;
      setTimeout(() => (button.textContent = short), 1500);
    },
  });
  const short = `${sha256.slice(0, 12)}…`;
  button.textContent = short;
  return button;
}
