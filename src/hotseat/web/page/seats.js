// @ts-check
// Home: who has the GPU, who waits for it, and why.

import { attempt, send } from "./api.js";
import { clock, count, duration, html, memory, now, plural, STATES, tone, useState } from "./lib.js";
import { box, models } from "./models.js";
import { Dialog, Empty, Icon, PageHead, Skeleton, StatePill } from "./parts.js";

/** @typedef {import("./models.js").Model} Model */

export function Seats() {
  const [filter, setFilter] = useState("");
  const names = [...models.value.keys()];
  if (!box.value) return html`<${PageHead} title="Seats" /><${Skeleton} lines=${6} />`;
  const shown = names.filter((name) => name.toLowerCase().includes(filter.toLowerCase()));
  return html`<${PageHead} title="Seats" sub=${html`<${Summary} />`}>
      ${names.length > 8 && html`<input type="search" placeholder="Find a model" aria-label="Find a model" value=${filter}
        onInput=${(/** @type {any} */ e) => setFilter(e.target.value)} />`}
    <//>
    ${Object.entries(box.value.unusable).map(([runtime, why]) => html`<div class="banner bad" role="alert"><strong>${runtime} cannot be used:</strong> ${why}</div>`)}
    <${Devices} />
    ${names.length === 0 ? html`<${Empty} title="No model is configured yet">Add one to the configuration, then reload it on the Health page.<//>` : ""}
    ${names.length > 0 && shown.length === 0 ? html`<${Empty} title=${`No model is called “${filter}”`} />` : ""}
    <section class="cards" aria-label="Models">${shown.map((name) => html`<${Card} key=${name} model=${models.value.get(name)} />`)}</section>`;
}

function Summary() {
  const all = [...models.value.values()].map((one) => one.value);
  const ready = all.filter((one) => one.state === "ready").length;
  const waiting = all.reduce((sum, one) => sum + one.waiting, 0);
  const busy = all.reduce((sum, one) => sum + one.in_flight, 0);
  const words = [`${ready} of ${plural(all.length, "model")} ready`];
  words.push(busy ? `${plural(busy, "answer")} under way` : "no answers under way");
  if (waiting) words.push(`${plural(waiting, "request")} waiting`);
  return words.join(" · ");
}

function Devices() {
  const told = /** @type {import("./models.js").Box} */ (box.value);
  const ids = Object.keys(told.budget);
  return html`<section class="devices" aria-label="GPU memory">${ids.map((id) => html`<${Device} key=${id} id=${id} only=${ids.length === 1} />`)}</section>`;
}

/** @param {{id: string, only: boolean}} props */
function Device({ id, only }) {
  const told = /** @type {import("./models.js").Box} */ (box.value);
  const gpu = told.devices.find((one) => String(one.device) === id);
  const budget = told.budget[id] ?? 1;
  const blocks = [...models.value.values()].map((one) => one.value)
    .map((model) => ({ model, share: model.footprint[id] ?? 0 })).filter((one) => one.share > 0);
  const taken = blocks.reduce((sum, one) => sum + one.share, 0);
  const free = Math.max(0, budget - taken);
  const name = gpu?.name ?? (only ? "GPU memory" : `GPU ${id}`);
  const spoken = `${name}: ${Math.round(taken * 100)} % taken` + blocks.map((one) => `, ${one.model.name} ${Math.round(one.share * 100)} %`).join("");
  return html`<div class="device">
    <div class="device-head"><h2>${name}</h2><p>${Math.round(taken * 100)} % taken${gpu ? html` of ${memory(gpu.total_mib)}` : ""}, ${Math.round(free * 100)} % free for models</p></div>
    <div class="memory" role="img" aria-label=${spoken}>
      ${blocks.map(({ model, share }) => html`<div key=${model.name} class=${`block tone-${tone(model.state)}`} style=${{ width: `${share * 100}%` }}
        title=${`${model.name}: ${Math.round(share * 100)} %, ${STATES[model.state]}`}><span>${model.name}</span>${share > 0.12 && html`<em>${Math.round(share * 100)} %</em>`}</div>`)}
      ${blocks.length === 0 && html`<span class="nobody">Nobody is seated</span>`}
      <i class="limit" style=${{ left: `${budget * 100}%` }} hidden=${budget >= 0.995}></i>
    </div>
    ${gpu ? html`<div class="measured"><i style=${{ width: `${(gpu.used_mib / gpu.total_mib) * 100}%` }}></i></div>
      <p class="sub small">Measured: ${memory(gpu.used_mib)} in use${gpu.busy_percent == null ? "" : `, ${gpu.busy_percent} % busy`}</p>` : ""}
  </div>`;
}

/** @param {{model: {value: Model}}} props */
function Card({ model: source }) {
  const model = source.value;
  const [asking, setAsking] = useState("");
  const [busy, setBusy] = useState(false);
  const group = tone(model.state);
  const order = async (/** @type {() => Promise<any>} */ work, /** @type {string} */ done) => {
    setBusy(true);
    await attempt(work, done);
    setBusy(false);
  };
  const start = () => order(() => send("/admin/start", { route: model.name }), `${model.name} is asked to start`);
  const stop = () => order(() => send("/admin/stop", { route: model.name }), `${model.name} is asked to stop`);
  const restart = () => order(async () => {
    await send("/admin/stop", { route: model.name, wait: true });
    await send("/admin/start", { route: model.name });
  }, `${model.name} restarts`);
  const hold = () => order(() => send("/ui/api/hold", { model: model.name, seconds: model.held_until ? 0 : 3600 }),
    model.held_until ? `${model.name} is no longer held` : `${model.name} is kept ready for an hour`);
  const guarded = (/** @type {string} */ what) => (model.in_flight ? setAsking(what) : what === "stop" ? stop() : restart());
  const up = ["ready", "draining", "starting", "waking", "asleep"].includes(model.state);
  return html`<article class=${`card tone-${group}`} aria-label=${model.name}>
    <header><h3 title=${model.name}>${model.name}</h3><${StatePill} state=${model.state} /></header>
    <${Story} model=${model} />
    ${model.error && (model.state === "backoff" || model.failures > 0) ? html`<div class="failure"><strong>${model.error.summary}</strong>${model.error.hint && html`<span>${model.error.hint}</span>`}<a href=${`#/logs/${encodeURIComponent(model.name)}`}>Log</a></div>` : ""}
    <dl class="facts">
      <div><dt>In flight</dt><dd>${count(model.in_flight)}</dd></div>
      <div><dt>Waiting</dt><dd class=${model.waiting ? "strong" : ""}>${count(model.waiting)}</dd></div>
      <div><dt>Tokens/s</dt><dd>${model.tokens_s == null ? "–" : Math.round(model.tokens_s)}</dd></div>
      <div><dt>Memory</dt><dd>${Math.round(Math.max(0, ...Object.values(model.need)) * 100)} %</dd></div>
    </dl>
    <footer>
      ${up ? html`<button class="button small" disabled=${busy || model.state === "draining"} onClick=${() => guarded("stop")}><${Icon} name="stop" size=${15} />Stop</button>
        <button class="button quiet small" disabled=${busy} onClick=${() => guarded("restart")}><${Icon} name="restart" size=${15} />Restart</button>`
      : html`<button class="button small" disabled=${busy || model.requested} onClick=${start}><${Icon} name="start" size=${15} />Start</button>`}
      <button class="button quiet small" aria-pressed=${Boolean(model.held_until)} disabled=${busy || model.pinned} onClick=${hold}
        title="Keep it ready for an hour, used or not. Others can still take turns."><${Icon} name="hold" size=${15} />${model.held_until ? "Held" : "Hold 1 h"}</button>
      <a class="button quiet small" href=${`#/playground/${encodeURIComponent(model.routes[0]?.name ?? model.name)}`}><${Icon} name="chat" size=${15} />Chat</a>
    </footer>
    ${asking && html`<${Dialog} title=${`${asking === "stop" ? "Stop" : "Restart"} ${model.name}?`} onClose=${() => setAsking("")}>
      <p>${plural(model.in_flight, "answer is", "answers are")} under way. ${model.name} finishes ${model.in_flight === 1 ? "it" : "them"} first; what is not done by its drain deadline is cut.</p>
      <footer><button class="button" onClick=${() => setAsking("")}>Leave it</button>
      <button class="button danger" onClick=${() => { setAsking(""); if (asking === "stop") stop(); else restart(); }}>${asking === "stop" ? "Stop it" : "Restart it"}</button></footer>
    <//>`}
  </article>`;
}

/** What it is doing, in one sentence. @param {{model: Model}} props */
function Story({ model }) {
  const left = (/** @type {number | null} */ at) => (at == null ? null : at - now.value);
  if (tone(model.state) === "loading") {
    const remaining = left(model.ready_at);
    const total = model.start_s ?? (remaining != null && model.since != null ? now.value - model.since + remaining : null);
    const percent = model.state === "downloading" ? parseInt(model.phase ?? "", 10) : remaining != null && total ? 100 * (1 - remaining / total) : NaN;
    return html`<div class="story"><p>${model.phase ?? "starting"}${remaining != null && remaining > 0 ? html`, ready in about ${duration(remaining)}` : model.since != null ? html`, for ${duration(now.value - model.since)}` : ""}</p>
      <div class=${Number.isFinite(percent) ? "progress" : "progress unknown"} role="progressbar" aria-label="start" aria-valuenow=${Number.isFinite(percent) ? Math.round(Math.min(99, percent)) : undefined}><i style=${{ width: Number.isFinite(percent) ? `${Math.max(3, Math.min(99, percent))}%` : "30%" }}></i></div></div>`;
  }
  if (model.why) {
    const at = left(model.why.at);
    const who = model.waiting ? plural(model.waiting, "request") + " queued" : "asked to start";
    return html`<div class="story waits"><p>${who}: ${model.why.text}${at == null ? "" : at > 0 ? html` in about ${duration(at)}` : " now"}</p></div>`;
  }
  if (model.state === "backoff") {
    const at = left(model.retry_at);
    return html`<div class="story"><p>${at != null && at > 0 ? html`It is tried again in ${duration(at)}` : "It is tried again with the next request"}</p></div>`;
  }
  if (model.state === "ready") {
    if (model.held_until) return html`<div class="story"><p>Held until ${clock(model.held_until)}</p></div>`;
    if (model.in_flight) return html`<div class="story"><p>${plural(model.in_flight, "answer")} under way</p></div>`;
    const at = left(model.idle_at);
    return html`<div class="story"><p>${model.pinned ? "Pinned: it always stays" : at == null ? "Idle; it stays until its memory is needed" : at > 0 ? html`Idle; leaves in ${duration(at)}` : "Idle; about to leave"}</p></div>`;
  }
  if (model.state === "draining") return html`<div class="story"><p>Finishes ${plural(model.in_flight, "answer")}, then leaves</p></div>`;
  if (model.state === "asleep") return html`<div class="story"><p>Asleep; ${model.expected_s ? html`wakes in about ${duration(model.expected_s)}` : "wakes with the next request"}</p></div>`;
  if (model.state === "stopped") return html`<div class="story"><p>${model.expected_s ? html`Starts in about ${duration(model.expected_s)}` : "Starts with its first request"}${model.used_at ? html` · last used ${clock(model.used_at)}` : ""}</p></div>`;
  return html`<div class="story"><p>${STATES[model.state]}</p></div>`;
}
