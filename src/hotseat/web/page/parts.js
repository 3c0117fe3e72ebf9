// @ts-check
// Small parts that all views share.

import { html, STATES, tone, useEffect, useRef, useState } from "./lib.js";

const ICONS = /** @type {Record<string, string>} */ ({
  seats: "M4 5h16v6H4zM4 15h7v4H4zM15 15h5v4h-5z",
  timeline: "M4 6h9M8 12h12M4 18h6M14 18h4",
  requests: "M4 7h16M4 12h16M4 17h10",
  logs: "M5 4h14v16H5zM8 9h8M8 13h8M8 17h4",
  playground: "M4 5h16v11H10l-4 4v-4H4z",
  connect: "M9 15l6-6M8 11l-2 2a3.5 3.5 0 0 0 5 5l2-2M16 13l2-2a3.5 3.5 0 0 0-5-5l-2 2",
  health: "M4 12h4l2-6 4 12 2-6h4",
  start: "M8 5l11 7-11 7z", stop: "M7 7h10v10H7z", restart: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  hold: "M12 8v4l3 2M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", copy: "M9 9h10v10H9zM5 15V5h10",
  close: "M6 6l12 12M18 6L6 18", chat: "M4 5h16v11H10l-4 4v-4H4z", send: "M5 12h13M12 5l7 7-7 7",
  pause: "M8 6v12M16 6v12", theme: "M12 4a8 8 0 1 0 0 16zM12 4v16", out: "M14 5h5v14h-5M4 12h10M8 8l-4 4 4 4",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4", check: "M5 12l5 5 9-10", more: "M6 12h.01M12 12h.01M18 12h.01",
});

/** @param {{name: string, size?: number}} props */
export function Icon({ name, size = 18 }) {
  return html`<svg class=${`icon icon-${name}`} width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor"
    stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** @param {{state: string}} props */
export function StatePill({ state }) {
  return html`<span class=${`pill tone-${tone(state)}`}><i aria-hidden="true"></i>${STATES[state] ?? state}</span>`;
}

/** @param {{title: string, sub?: any, children?: any}} props */
export function PageHead({ title, sub, children }) {
  return html`<header class="page-head"><div><h1 tabindex="-1">${title}</h1>${sub && html`<p class="sub">${sub}</p>`}</div>
    ${children && html`<div class="tools">${children}</div>`}</header>`;
}

/** @param {{title: string, children?: any}} props */
export function Empty({ title, children }) {
  return html`<div class="empty"><strong>${title}</strong>${children && html`<p>${children}</p>`}</div>`;
}

/** @param {{lines?: number}} props */
export function Skeleton({ lines = 3 }) {
  return html`<div class="skeleton" role="status" aria-busy="true" aria-label="loading">${Array.from({ length: lines }, () => html`<i></i>`)}</div>`;
}

/** @param {{text: string | (() => string), label?: string}} props */
export function CopyButton({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(typeof text === "function" ? text() : text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button class="button quiet small" onClick=${copy}><${Icon} name=${done ? "check" : "copy"} size=${15} />${done ? "Copied" : label}</button>`;
}

/** Copy, also where the page was not loaded over a secure connection. @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** @param {{title: string, onClose: () => void, children?: any}} props */
export function Dialog({ title, onClose, children }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => { ref.current?.showModal(); }, []);
  return html`<dialog ref=${ref} onClose=${onClose} aria-label=${title} onClick=${(/** @type {MouseEvent} */ e) => e.target === ref.current && ref.current?.close()}>
    <div class="dialog"><header><h2>${title}</h2><button class="button quiet icon-only" aria-label="Close" onClick=${() => ref.current?.close()}><${Icon} name="close" /></button></header>
    ${children}</div></dialog>`;
}

/**
 * A row of choices, one of which is taken.
 * @param {{label: string, value: any, options: {value: any, label: string}[], onChange: (value: any) => void}} props
 */
export function Choice({ label, value, options, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>${options.map(
    (one) => html`<button aria-pressed=${one.value === value} onClick=${() => onChange(one.value)}>${one.label}</button>`)}</div>`;
}
