// @ts-check
// Requests to hotseat: errors in its words, and what happens when a session has ended.

import { signal } from "./lib.js";

/**
 * @typedef {{admin: boolean, allowed: boolean, key: string, signed_in: boolean, sign_in: boolean, second_factor: boolean}} Session
 */

/** Who we are; `null` until hotseat has said so. */
export const session = signal(/** @type {Session | null} */ (null));
/** Whether hotseat answers. */
export const connected = signal(true);
/** Short messages at the lower edge. */
export const toasts = signal(/** @type {{id: number, text: string, bad: boolean}[]} */ ([]));

let toastId = 0;
/** @param {string} text @param {boolean} [bad] */
export function toast(text, bad = false) {
  const id = ++toastId;
  toasts.value = [...toasts.value.slice(-3), { id, text, bad }];
  setTimeout(() => { toasts.value = toasts.value.filter((one) => one.id !== id); }, bad ? 9000 : 4000);
}

/** An error that hotseat answered. */
export class Refused extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(body?.error?.message ?? `hotseat answered with status ${status}`);
    this.status = status;
    this.problems = /** @type {string[]} */ (body?.problems ?? []);
  }
}

/** @param {Response} response @returns {Promise<any>} */
async function read(response) {
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  if (response.status === 401) await whoami();
  throw new Refused(response.status, body);
}

/** Raises `Refused`, and `TypeError` where hotseat does not answer. @param {string} path */
export const get = async (path) => read(await fetch(path, { headers: { accept: "application/json" } }));

/** @param {string} path @param {object} [body] @param {string} [method] @param {Record<string, string>} [headers] */
export async function send(path, body = {}, method = "POST", headers = {}) {
  return read(await fetch(path, { method, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) }));
}

/** Does something and says what became of it. @param {() => Promise<any>} work @param {string} [done] */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) toast(done);
    return result;
  } catch (error) {
    toast(explain(error), true);
    return undefined;
  }
}

/** @param {unknown} error */
export function explain(error) {
  if (error instanceof TypeError) return "hotseat does not answer";
  return error instanceof Error ? error.message : String(error);
}

/** Ask who we are. */
export async function whoami() {
  try {
    const response = await fetch("/ui/session");
    if (response.ok) {
      session.value = await response.json();
      connected.value = true;
    }
  } catch {
    connected.value = false;
    setTimeout(whoami, 1500);
  }
}

/**
 * The latest state of a topic, kept up to date until the returned function is called.
 * @param {string} topic
 * @param {(parts: Record<string, any>, everything: boolean) => void} update
 */
export function follow(topic, update) {
  let source = /** @type {EventSource | null} */ (null);
  let ended = false;
  let timer = 0;
  const open = () => {
    source = new EventSource(`/ui/api/live?topic=${topic}`);
    for (const kind of ["all", "some"]) {
      source.addEventListener(kind, (event) => {
        connected.value = true;
        update(JSON.parse(event.data), kind === "all");
      });
    }
    source.onerror = () => {
      source?.close();
      if (ended) return;
      timer = window.setTimeout(async () => {
        await whoami();
        if (!ended && (session.value?.admin ?? true)) open();
      }, connected.value ? 300 : 1500);
    };
  };
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    source?.close();
  };
}

/**
 * Lines of a text that goes on, until the signal aborts it.
 * @param {string} path @param {AbortSignal} abort @param {(lines: string[]) => void} take
 */
export async function lines(path, abort, take) {
  const response = await fetch(path, { signal: abort });
  if (!response.ok || !response.body) return read(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const pieces = (rest + value).split("\n");
    rest = pieces.pop() ?? "";
    if (rest.length > 1e6) { pieces.push(rest); rest = ""; }
    if (pieces.length) take(pieces);
  }
  if (rest) take([rest]);
}
