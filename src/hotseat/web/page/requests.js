// @ts-check
// Every request as it happens: those that wait and those that are answered, too.

import { attempt, follow, send } from "./api.js";
import { clock, count, duration, html, now, seconds, signal, size, useEffect, useState } from "./lib.js";
import { box, models } from "./models.js";
import { Choice, Dialog, Empty, Icon, PageHead } from "./parts.js";

/** By id. */
const requests = signal(/** @type {Map<string, any>} */ (new Map()));
const SHOWN = 300;

export function View() {
  const [filter, setFilter] = useState("");
  const [which, setWhich] = useState("all");
  const [frozen, setFrozen] = useState(/** @type {any[] | null} */ (null));
  const [open, setOpen] = useState("");
  useEffect(() => follow("requests", (parts, everything) => {
    const next = new Map(everything ? [] : requests.value);
    for (const [key, value] of Object.entries(parts)) {
      const id = key.slice("request/".length);
      if (value === null) next.delete(id); else next.set(id, value);
    }
    requests.value = next;
  }), []);
  const all = frozen ?? [...requests.value.values()].sort((a, b) => order(a) - order(b) || b.at - a.at);
  const words = filter.toLowerCase();
  const shown = all.filter((one) => fits(one, which) && (!words || [one.model, one.route, one.key, one.id, one.path, String(one.status ?? ""), one.code].some((text) => text?.toLowerCase().includes(words))));
  const running = all.filter((one) => one.phase !== "done").length;
  const chosen = open ? requests.value.get(open) ?? all.find((one) => one.id === open) : null;
  return html`<${PageHead} title="Requests" sub=${frozen ? "Paused: this is how it was" : `${count(running)} under way, the latest ${count(all.length - running)} that have ended while somebody looked`}>
      <${Choice} label="Which" value=${which} onChange=${setWhich} options=${[{ value: "all", label: "All" }, { value: "running", label: "Under way" }, { value: "failed", label: "Failed" }]} />
      <input type="search" placeholder="Filter" aria-label="Filter" value=${filter} onInput=${(/** @type {any} */ e) => setFilter(e.target.value)} />
      <button class="button" aria-pressed=${frozen !== null} onClick=${() => setFrozen(frozen ? null : all)}><${Icon} name=${frozen ? "start" : "pause"} size=${16} />${frozen ? "Go on" : "Pause"}</button>
      <${CaptureButton} />
    <//>
    ${shown.length === 0 ? html`<${Empty} title=${all.length ? "No request is like that" : "No requests yet"}>${all.length ? "" : "They appear here as they come."}<//>` : html`
    <div class="panel table-wrap" tabindex="0" role="region" aria-label="Requests"><table><thead><tr><th>Time</th><th>Model</th><th>Key</th><th>Status</th><th class="number">Waited</th><th class="number">First token</th><th class="number">Took</th><th class="number">In</th><th class="number">Out</th><th class="number">Tokens/s</th></tr></thead>
      <tbody>${shown.slice(0, SHOWN).map((one) => html`<${Row} key=${one.id} one=${one} onOpen=${() => setOpen(one.id)} />`)}</tbody></table></div>
    ${shown.length > SHOWN && html`<p class="sub small">The latest ${SHOWN} of ${count(shown.length)} are shown; filter to see others.</p>`}`}
    ${chosen && html`<${Details} one=${chosen} onClose=${() => setOpen("")} />`}`;
}

/** Those that are under way come first. @param {any} one */
const order = (one) => (one.phase === "done" ? 1 : 0);

/** @param {any} one @param {string} which */
function fits(one, which) {
  if (which === "running") return one.phase !== "done";
  return which === "all" || (one.phase === "done" && (one.status >= 400 || one.failed));
}

/** @param {{one: any, onOpen: () => void}} props */
function Row({ one, onOpen }) {
  const running = one.phase !== "done";
  const age = running ? Math.max(0, now.value - one.at) : one.duration_s;
  return html`<tr class="opens" onClick=${onOpen}>
    <td class="status-time"><button class="link" onClick=${(/** @type {Event} */ e) => { e.stopPropagation(); onOpen(); }} aria-label=${`Details of the request at ${clock(one.at, true)}`}>${clock(one.at, true)}</button></td>
    <td class="clip" title=${one.route}>${one.model}</td><td class="clip">${one.key || html`<span class="sub">–</span>`}</td>
    <td><${Status} one=${one} /></td>
    <td class="number">${one.phase === "queued" ? duration(age) : seconds(one.waited_s)}</td><td class="number">${seconds(one.first_byte_s)}</td>
    <td class="number">${running ? duration(age) : seconds(one.duration_s)}</td>
    <td class="number">${one.tokens_in != null ? count(one.tokens_in) : size(one.bytes_in)}</td>
    <td class="number">${one.tokens_out != null ? count(one.tokens_out) : size(one.bytes_out)}</td>
    <td class="number">${one.tokens_s == null ? "–" : Math.round(one.tokens_s)}</td></tr>`;
}

/** @param {{one: any}} props */
function Status({ one }) {
  if (one.phase !== "done") return html`<span class="status busy">${one.phase}</span>`;
  const bad = one.status >= 400 || one.failed;
  const words = one.failed === "gone" ? "client left" : one.failed || one.code;
  return html`<span class=${bad ? "status bad" : "status good"}>${one.status}</span>${words && html` <span class="sub small">${words}</span>`}`;
}

/** @param {{one: any, onClose: () => void}} props */
function Details({ one, onClose }) {
  const facts = [["Began", clock(one.at, true)], ["Model", one.model], ["Route", one.route], ["Path", one.path], ["Key", one.key || "none"], ["Request id", one.id],
    ["Stream", one.stream ? "yes" : "no"], ["Waited", seconds(one.waited_s)], ["First byte", seconds(one.first_byte_s)], ["Took", seconds(one.duration_s)],
    ["Tokens", `${count(one.tokens_in)} in, ${count(one.tokens_out)} out`], ["Bytes", `${size(one.bytes_in)} in, ${size(one.bytes_out)} out`]];
  return html`<${Dialog} title=${`Request to ${one.model}`} onClose=${onClose}>
    <p><${Status} one=${one} /></p>
    <dl class="kv">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    <p class="sub small">Prompts and answers are kept only while a capture is on.</p>
    ${one.phase !== "done" && html`<footer><button class="button danger" onClick=${() => attempt(() => send("/ui/api/cancel", { id: one.id }), "The request is cancelled")}>Cancel this request</button></footer>`}
  <//>`;
}

function CaptureButton() {
  const [open, setOpen] = useState(false);
  const [model, setModel] = useState("");
  const [length, setLength] = useState("60");
  const on = Object.entries(box.value?.captures ?? {});
  const names = [...models.value.keys()];
  const start = () => attempt(() => send("/admin/capture", { route: model || names[0], seconds: Number(length) }), "The capture is on");
  return html`<button class="button" onClick=${() => setOpen(true)}>${on.length ? "Capture is on" : "Capture…"}</button>
    ${open && html`<${Dialog} title="Capture prompts and answers" onClose=${() => setOpen(false)}>
      <p>What is asked of one model and what it answers is written to a file, for a limited time. Keys become ***.</p>
      ${on.map(([name, told]) => html`<div class="banner bad" key=${name}><strong>${name}</strong> until ${told.until}: ${count(told.requests)} requests, ${size(told.bytes)}
        <div class="tools"><a class="button small" href=${`/ui/api/captures/${encodeURIComponent(name)}`} download>Download</a><button class="button small danger" onClick=${() => attempt(() => send("/admin/capture", { route: name, seconds: 0 }), "The capture has ended")}>End it</button></div></div>`)}
      <div class="tools"><select aria-label="Model" value=${model || names[0]} onChange=${(/** @type {any} */ e) => setModel(e.target.value)}>${names.map((name) => html`<option key=${name}>${name}</option>`)}</select>
        <select aria-label="For how long" value=${length} onChange=${(/** @type {any} */ e) => setLength(e.target.value)}><option value="60">1 minute</option><option value="600">10 minutes</option><option value="3600">1 hour</option></select>
        <button class="button primary" onClick=${start}>Start</button></div>
    <//>`}`;
}
