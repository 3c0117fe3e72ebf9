// @ts-check
// What each model's server writes, and hotseat itself: followed, searched, and 100,000 lines without a stutter.

import { explain, lines as readLines, toast } from "./api.js";
import { count, html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { models } from "./models.js";
import { Empty, Icon, PageHead } from "./parts.js";

const KEPT = 100_000;
const LINE = 20;
const LONGEST = 4000;

/** A line's pieces by colour: the escape codes that colour it are read, all others are dropped. @param {string} text */
export function pieces(text) {
  const found = /** @type {{text: string, tone: string}[]} */ ([]);
  let tone = "", end = 0;
  const add = (/** @type {string} */ piece) => { if (piece) found.push({ text: piece.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, ""), tone }); };
  for (const code of text.matchAll(/\u001b(?:\[([0-9;:?]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])/g)) {
    add(text.slice(end, code.index));
    end = code.index + code[0].length;
    if (code[2] === "m") tone = colour(tone, code[1] ?? "");
  }
  add(text.slice(end));
  return found;
}

/** @param {string} tone @param {string} codes */
function colour(tone, codes) {
  let classes = new Set(tone.split(" ").filter(Boolean));
  for (const code of (codes || "0").split(/[;:]/).map(Number)) {
    if (code === 0) classes = new Set();
    else if (code >= 1 && code <= 4) classes.add(`a${code}`);
    else if (code === 22) { classes.delete("a1"); classes.delete("a2"); }
    else if (code >= 30 && code <= 39 || code >= 90 && code <= 97) {
      for (const one of classes) if (one.startsWith("c")) classes.delete(one);
      if (code === 38) break;
      if (code !== 39) classes.add(`c${code % 10}`);
    } else if (code === 48) break;
  }
  return [...classes].join(" ");
}

/** @param {string} line */
function level(line) {
  const head = line.slice(0, 300);
  if (/\b(ERROR|CRITICAL|FATAL|Traceback)\b|"level":"(error|critical)"/.test(head)) return "error";
  return /\bWARN(ING)?\b|"level":"warning"/.test(head) ? "warning" : "";
}

/** hotseat's own lines are JSON: shown as words. @param {string} line */
function words(line) {
  try {
    const { time, level, event, ...rest } = JSON.parse(line);
    const at = new Date(time * 1000).toLocaleTimeString("en-GB");
    const more = Object.entries(rest).map(([name, value]) => `\u001b[2m${name}=\u001b[22m${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
    const colour = level === "error" ? 31 : level === "warning" ? 33 : 32;
    return `\u001b[2m${at}\u001b[0m \u001b[${colour}m${String(level).toUpperCase().padEnd(7)}\u001b[0m ${event} ${more}`;
  } catch { return line; }
}

/** @param {{argument: string}} props */
export function View({ argument }) {
  const source = argument || "hotseat";
  const [filter, setFilter] = useState("");
  const [least, setLeast] = useState("");
  const [following, setFollowing] = useState(true);
  const [state, setState] = useState("connecting");
  const store = useRef(/** @type {{text: string, level: string}[]} */ ([]));
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    store.current = [];
    setVersion((n) => n + 1);
    setState("connecting");
    let pending = false, timer = 0;
    const take = (/** @type {string[]} */ found) => {
      for (const line of found) {
        const text = (source === "hotseat" ? words(line) : line);
        const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)} … (${count(text.length)} characters)` : text;
        store.current.push({ text: shown, level: level(line) });
      }
      if (store.current.length > KEPT) store.current.splice(0, store.current.length - KEPT);
      if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; setVersion((n) => n + 1); }); }
    };
    const path = source === "hotseat" ? "/ui/api/logs" : `/logs/${encodeURIComponent(source)}?follow=1&lines=10000`;
    const open = () => {
      setState("following");
      readLines(path, control.signal, take).then(() => again("ended"), (error) => {
        if (control.signal.aborted) return;
        if (error.status) { setState(explain(error)); toast(explain(error), true); } else again("interrupted");
      });
    };
    const again = (/** @type {string} */ why) => {
      if (control.signal.aborted) return;
      setState(why);
      timer = window.setTimeout(() => { store.current = []; open(); }, 2000);
    };
    open();
    return () => { clearTimeout(timer); control.abort(); };
  }, [source]);
  const plain = filter.toLowerCase();
  const shown = store.current.filter((line) => (!least || line.level === "error" || (least === "warning" && line.level)) && (!plain || line.text.toLowerCase().includes(plain)));
  return html`<${PageHead} title="Logs" sub=${`${count(shown.length)} lines${state === "following" ? "" : `, ${state}`}`} />
    <div class="log-tools">
      <select aria-label="Log of" value=${source} onChange=${(/** @type {any} */ e) => { location.hash = `#/logs/${encodeURIComponent(e.target.value)}`; }}>
        <option value="hotseat">hotseat itself</option>${[...models.value.keys()].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select>
      <input class="grow" type="search" placeholder="Search" aria-label="Search in the log" value=${filter} onInput=${(/** @type {any} */ e) => setFilter(e.target.value)} />
      <select aria-label="Level" value=${least} onChange=${(/** @type {any} */ e) => setLeast(e.target.value)}><option value="">All levels</option><option value="warning">Warnings and errors</option><option value="error">Errors</option></select>
      <button class="button" aria-pressed=${following} onClick=${() => setFollowing(!following)}><${Icon} name=${following ? "pause" : "start"} size=${16} />${following ? "Pause" : "Follow"}</button>
    </div>
    ${shown.length === 0 ? html`<${Empty} title=${store.current.length ? "No line is like that" : "Nothing was written yet"}>${store.current.length ? "" : "Lines appear here as they are written."}<//>`
    : html`<${VirtualLog} lines=${shown} mark=${plain} following=${following} onScrollAway=${() => setFollowing(false)} version=${version} />`}`;
}

/** Draws the lines that can be seen. @param {{lines: {text: string, level: string}[], mark: string, following: boolean, onScrollAway: () => void, version: number}} props */
function VirtualLog({ lines, mark, following, onScrollAway, version }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const driven = useRef(false);
  useLayoutEffect(() => {
    const box = ref.current;
    if (!box) return;
    if (box.clientHeight !== height) setHeight(box.clientHeight);
    if (following) { driven.current = true; box.scrollTop = box.scrollHeight; }
  }, [version, following, lines.length]);
  const onScroll = () => {
    const box = /** @type {HTMLElement} */ (ref.current);
    setTop(box.scrollTop);
    if (!driven.current && following && box.scrollTop + box.clientHeight < box.scrollHeight - 3 * LINE) onScrollAway();
    driven.current = false;
  };
  const first = Math.max(0, Math.floor(top / LINE) - 20);
  const last = Math.min(lines.length, Math.ceil((top + height) / LINE) + 20);
  return html`<div class="log" ref=${ref} onScroll=${onScroll} tabindex="0" role="log" aria-label="Log" aria-live="off">
    <div style=${{ height: `${lines.length * LINE}px`, position: "relative" }}>${lines.slice(first, last).map((line, at) =>
      html`<div key=${first + at} class=${`log-line ${line.level}`} style=${{ top: `${(first + at) * LINE}px` }}>${pieces(line.text).map((one) => html`<span class=${one.tone}>${marked(one.text, mark)}</span>`)}</div>`)}</div></div>`;
}

/** @param {string} text @param {string} mark */
function marked(text, mark) {
  const at = mark ? text.toLowerCase().indexOf(mark) : -1;
  return at < 0 ? text : html`${text.slice(0, at)}<mark>${text.slice(at, at + mark.length)}</mark>${text.slice(at + mark.length)}`;
}
