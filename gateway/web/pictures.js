// Pictures of pages: from the file itself where the browser reads it, else from the gateway.

import { renderedPage, storedPage } from "./api.js";

const BROWSER_READS = new Set(["image/jpeg", "image/png", "image/bmp"]); // not WebP: EXIF is ignored
const WIDE_KEPT = 6; // pictures of whole pages that are kept
const THUMBNAIL_PX = 176; // on the longer side
const THUMBNAIL_DPI = 18; // the least that the gateway draws at: an A4 page is 210 px high
const VIEW_DPI = 150;
const SAME_SHAPE = 0.02; // relative difference of sides, beyond which a picture is of another frame

/**
 * Runs at most `limit` tasks at once. Waiting ones go in the order in which they came, or the
 * latest first: what has just come into view. A task whose signal is aborted never starts.
 */
export function limiter(limit, { latestFirst = false } = {}) {
  const waiting = [];
  let running = 0;
  function next() {
    while (running < limit && waiting.length > 0) {
      const { task, signal, resolve, reject } = latestFirst ? waiting.pop() : waiting.shift();
      if (signal?.aborted) {
        reject(signal.reason);
        continue;
      }
      running += 1;
      task()
        .then(resolve, reject)
        .finally(() => {
          running -= 1;
          next();
        });
    }
  }
  return (task, signal) =>
    new Promise((resolve, reject) => {
      waiting.push({ task, signal, resolve, reject });
      next();
    });
}

const thumbnails = limiter(3, { latestFirst: true });

/** Whether a picture has the shape of a page; true of a page whose size is not known. */
const sameShape = (picture, page) =>
  !page.width ||
  Math.abs((picture.width * page.height) / (picture.height * page.width) - 1) < SAME_SHAPE;

/** The page of a file as a bitmap whose longer side is about THUMBNAIL_PX. */
async function thumbnailBitmap(file, page, signal) {
  const landscape = page.width > page.height;
  const resize = {
    [landscape ? "resizeWidth" : "resizeHeight"]: THUMBNAIL_PX,
    resizeQuality: "medium",
  };
  if (BROWSER_READS.has(file.type)) {
    const bitmap = await createImageBitmap(file, resize).catch(() => null);
    if (bitmap && sameShape(bitmap, page)) return bitmap;
    bitmap?.close();
  }
  const blob = await renderedPage(file, page.page, THUMBNAIL_DPI, signal);
  return createImageBitmap(blob, resize);
}

/** Draws a page's thumbnail into `canvas` when its turn comes. Throws when aborted or refused. */
export const drawThumbnail = (canvas, file, page, signal) =>
  thumbnails(async () => {
    const bitmap = await thumbnailBitmap(file, page, signal);
    if (!signal.aborted) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    }
    bitmap.close();
  }, signal);

/** The page of a file as a Blob that an <img> shows, in the frame of the page's boxes. */
async function wholePage(file, page) {
  if (BROWSER_READS.has(file.type)) {
    const bitmap = await createImageBitmap(file).catch(() => null);
    const { width, height } = bitmap ?? {};
    bitmap?.close();
    if (bitmap && sameShape({ width, height }, page)) return file;
  }
  return renderedPage(file, page.page, VIEW_DPI);
}

/**
 * Addresses of pictures for <img>. The latest WIDE_KEPT are kept; what goes is revoked, and so
 * is the rest by `clear`.
 */
export class Pictures {
  constructor() {
    this.kept = new Map(); // key -> promise of an address, the latest last
  }

  /** The address of the picture that `key` names; `load` makes its Blob if it is not kept. */
  address(key, load) {
    const address = this.kept.get(key) ?? load().then((blob) => URL.createObjectURL(blob));
    this.kept.delete(key);
    this.kept.set(key, address);
    address.catch(() => this.kept.delete(key));
    for (const [oldest] of this.kept) {
      if (this.kept.size <= WIDE_KEPT) break;
      this.revoke(oldest);
    }
    return address;
  }

  /** The address of a page of a file. */
  ofPage(key, file, page) {
    return this.address(key, () => wholePage(file, page));
  }

  clear() {
    for (const key of [...this.kept.keys()]) this.revoke(key);
  }

  revoke(key) {
    this.kept.get(key)?.then(URL.revokeObjectURL, () => {});
    this.kept.delete(key);
  }
}

/**
 * Pictures of pages that the gateway answered before: of a file that this browser holds, else of
 * what the gateway stores. `fileOf(sha256)` is a file of another view, if it has it.
 */
export class KnownPictures {
  constructor(fileOf) {
    this.fileOf = fileOf;
    this.files = new Map(); // SHA-256 -> file
    this.pictures = new Pictures();
  }

  file(sha256) {
    return this.files.get(sha256) ?? this.fileOf(sha256);
  }

  /** The name of a page's picture, another one once its file is here. */
  key({ sha256, page }) {
    return `${sha256}:${page}:${this.file(sha256) ? "file" : "stored"}`;
  }

  /** The address of the picture of a page {sha256, page, width, height, stored}. */
  address(page) {
    const { sha256, stored } = page;
    const file = this.file(sha256);
    if (file) return this.pictures.ofPage(this.key(page), file, page);
    if (stored) return this.pictures.address(this.key(page), () => storedPage(sha256, page.page));
    const reason = "The gateway does not store it. Drop its file here to see it.";
    return Promise.reject(new Error(reason));
  }
}
