// @ts-check
// What every module of the page uses: the view library, and how numbers and times are written.

import { h, render, Fragment } from "./vendor/preact.js";
import * as hooks from "./vendor/hooks.js";
import * as signals from "./vendor/signals.js";
import htm from "./vendor/htm.js";

/** @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(/** @type {any} */ (h));
export { Fragment, h, render };

/**
 * The libraries come without types; these are the ones that the page relies on.
 * @template T
 * @typedef {{value: T}} Signal
 */
/** @type {<T>(value: T) => Signal<T>} */
export const signal = signals.signal;
/** @type {<T>(compute: () => T) => {readonly value: T}} */
export const computed = signals.computed;
/** @type {(work: () => void) => void} */
export const batch = signals.batch;
/** @type {(work: () => void) => () => void} */
export const effect = signals.effect;
/** @type {<T>(value: T) => [T, (next: T | ((old: T) => T)) => void]} */
export const useState = hooks.useState;
/** @type {<T>(value: T) => {current: T}} */
export const useRef = hooks.useRef;
/** @type {<T>(compute: () => T, inputs: unknown[]) => T} */
export const useMemo = hooks.useMemo;
/** @type {(work: () => void | (() => void), inputs?: unknown[]) => void} */
export const useEffect = hooks.useEffect;
/** @type {(work: () => void | (() => void), inputs?: unknown[]) => void} */
export const useLayoutEffect = hooks.useLayoutEffect;

/** The time in Unix seconds; moves once a second while the page is visible. */
export const now = signal(Date.now() / 1000);
setInterval(() => { if (!document.hidden) now.value = Date.now() / 1000; }, 1000);
document.addEventListener("visibilitychange", () => { now.value = Date.now() / 1000; });

/** A duration in words: `8 s`, `2 min`, `1 h 05 min`. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`;
  const hours = Math.floor(s / 3600);
  return hours < 48 ? `${hours} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min` : `${Math.round(hours / 24)} days`;
}

/** A measured time: `0.42 s`, `12.3 s`. @param {number | null | undefined} seconds */
export function seconds(seconds) {
  if (seconds == null) return "–";
  return seconds < 10 ? `${seconds.toFixed(2)} s` : seconds < 100 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

/** @param {number} mib */
export function memory(mib) {
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : `${Math.round(mib)} MiB`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const numbers = new Intl.NumberFormat("en");
/** @param {number | null | undefined} n */
export const count = (n) => (n == null ? "–" : numbers.format(n));

/** A time of day, with the day if it is another one. @param {number} unix @param {boolean} [withSeconds] */
export function clock(unix, withSeconds = false) {
  const at = new Date(unix * 1000);
  const time = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(withSeconds && { second: "2-digit" }) });
  const today = new Date().toDateString() === at.toDateString();
  return today ? time : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

/** The words for each state, and the class that gives it its colour. */
export const STATES = /** @type {Record<string, string>} */ ({
  ready: "ready", starting: "starting", waking: "waking", downloading: "downloading", draining: "finishing",
  stopping: "stopping", suspending: "falling asleep", asleep: "asleep", backoff: "failed", stopped: "stopped",
});

/** The colour group of a state. @param {string} state */
export function tone(state) {
  if (state === "ready") return "ready";
  if (["starting", "waking", "downloading"].includes(state)) return "loading";
  if (["draining", "stopping", "suspending"].includes(state)) return "leaving";
  if (state === "asleep") return "asleep";
  return state === "backoff" ? "failed" : "stopped";
}
