// Files as they are dropped, and their digests.

import { Problem } from "./api.js";

const PAGES = /\.(pdf|tiff?|jpe?g|jpe|jfif|png|webp|bmp)$/i;
const LARGEST_DIGEST = 1 << 30; // bytes: the browser digests what it holds in memory, whole

/** Every file under a dropped entry, with its path. Folders are read to the end. */
async function* walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    yield { file, name: entry.fullPath.replace(/^\//, ""), loose: false };
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // at most 100 entries each time
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const each of entries) yield* walk(each);
  }
}

const byName = (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true });

/**
 * Of files with names, those that are pages, in the order of their names, and how many others a
 * folder had. Files that were named one by one (`loose`) all count: the gateway refuses them
 * better than a suffix can.
 */
function sorted(files) {
  const pages = files.filter(
    ({ file, name, loose }) => loose || (PAGES.test(name) && file.size > 0),
  );
  return { pages: pages.sort(byName), leftOut: files.length - pages.length };
}

/** What was dropped or pasted: `{pages: [{file, name}], leftOut}`. */
export async function dropped(transfer) {
  // entries first: the transfer is empty after the first await
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const loose = [...transfer.files].map((file) => ({ file, name: file.name, loose: true }));
  if (!entries.some((entry) => entry.isDirectory)) return sorted(loose);
  const found = [];
  for (const entry of entries)
    for await (const each of walk(entry)) found.push({ ...each, loose: entry.isFile });
  return sorted(found);
}

/** What was chosen in a file input; a folder's files carry their paths. */
export function chosen(input) {
  const files = [...input.files].map((file) => ({
    file,
    name: file.webkitRelativePath || file.name,
    loose: !file.webkitRelativePath,
  }));
  input.value = ""; // so that the same choice counts again
  return sorted(files);
}

/** SHA-256 of a file, 64 hexadecimal digits. Browsers compute it in secure contexts only. */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle)
    throw new Problem({
      title: "The browser computes no digests here",
      detail:
        "It does so for pages opened over HTTPS or on localhost only. Paste the file's SHA-256 instead" +
        " (sha256sum FILE prints it).",
    });
  if (file.size > LARGEST_DIGEST)
    throw new Problem({
      title: "File too large to digest in the browser",
      detail: `${file.size} bytes, limit ${LARGEST_DIGEST}. Paste the file's SHA-256 instead.`,
    });
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
