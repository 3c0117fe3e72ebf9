// @ts-check
// Is everything in order: doctor's findings, the keys, and the configuration in effect.

import { attempt, explain, get, Refused, send, toast } from "./api.js";
import { clock, html, now, plural, useEffect, useState } from "./lib.js";
import { Empty, Icon, PageHead, Skeleton } from "./parts.js";

const MARKS = /** @type {Record<string, [string, string]>} */ ({ ok: ["ready", "in order"], warning: ["loading", "warning"], error: ["failed", "wrong"], unknown: ["stopped", "unknown"] });

export function View() {
  return html`<${PageHead} title="Health" sub="What hotseat doctor finds, who may ask, and the configuration in effect" /><${Doctor} /><${Configuration} /><${Keys} />`;
}

function Doctor() {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const look = async () => {
    setBusy(true);
    const answer = await attempt(() => get("/ui/api/doctor"));
    if (answer) setFound(answer);
    setBusy(false);
  };
  useEffect(() => { look(); }, []);
  const checks = /** @type {{name: string, state: string, message: string, fix: string}[]} */ (found?.checks ?? []);
  const rank = ["error", "warning", "unknown", "ok"];
  const sorted = [...checks].sort((a, b) => rank.indexOf(a.state) - rank.indexOf(b.state));
  return html`<section class="panel section"><header><h2>Doctor</h2><button class="button small" disabled=${busy} onClick=${look}><${Icon} name="restart" size=${15} />${busy ? "Looking…" : "Look again"}</button></header>
    ${found?.problem && html`<p class="problems">${found.problem}</p>`}
    ${found === null ? html`<div class="problems"><${Skeleton} lines=${4} /></div>` : html`<ul class="checks">${sorted.map((one) => html`<li key=${one.name}><span><span class=${`pill tone-${MARKS[one.state]?.[0] ?? "stopped"}`}><i></i>${MARKS[one.state]?.[1] ?? one.state}</span></span><div><p><strong>${one.name}</strong>: ${one.message}</p>${one.fix && html`<p class="fix"><code>${one.fix}</code></p>`}</div></li>`)}</ul>`}</section>`;
}

function Configuration() {
  const [told, setTold] = useState(/** @type {any} */ (null));
  const [problems, setProblems] = useState(/** @type {string[]} */ ([]));
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const read = () => get("/ui/api/config").then(setTold, (error) => toast(explain(error), true));
  useEffect(() => { read(); }, []);
  const look = async () => {
    const answer = await attempt(() => send("/ui/api/preview"));
    if (answer) { setProblems(answer.problems); setPreview(answer); read(); }
  };
  const reload = async () => {
    try {
      const changes = await send("/admin/reload");
      setProblems([]);
      setPreview(null);
      toast(`Reloaded: ${inWords(changes) || "nothing has changed"}`);
    } catch (error) {
      if (error instanceof Refused && error.problems.length) setProblems(error.problems); else toast(explain(error), true);
    }
    read();
  };
  const hits = new Map(problems.map((one) => [Number(/:(\d+)(?::|\b)/.exec(one)?.[1] ?? 0), one]));
  return html`<section class="panel section"><header><div><h2>Configuration</h2>${told?.file && html`<p class="sub small">${told.file}</p>`}</div>
      <div class="tools"><button class="button small" onClick=${look}>What would a reload change?</button><button class="button small primary" onClick=${reload}>Reload</button></div></header>
    ${problems.length > 0 && html`<div class="problems" role="alert"><strong>Nothing was changed: ${plural(problems.length, "problem")}</strong>${problems.map((one) => html`<span key=${one}>${one}</span>`)}</div>`}
    ${preview && problems.length === 0 && html`<p class="problems sub" role="status">${inWords(preview) || "A reload would change no model."}</p>`}
    ${told === null ? html`<div class="problems"><${Skeleton} lines=${6} /></div>` : told.problem ? html`<p class="problems">${told.problem}</p>` : html`<pre class="source" tabindex="0" aria-label="Configuration">${told.text.split("\n").map((/** @type {string} */ line, /** @type {number} */ at) => html`<div key=${at} class=${hits.has(at + 1) ? "hit" : ""} title=${hits.get(at + 1)}><b>${at + 1}</b><span>${line}</span></div>`)}</pre>`}</section>`;
}

/** @param {any} changes */
function inWords(changes) {
  const words = [];
  for (const [name, verb] of [["added", "adds"], ["removed", "removes"], ["changed", "restarts when idle"], ["needs_restart", "needs a restart of hotseat for"]]) {
    if (changes[name]?.length) words.push(`${verb} ${changes[name].join(", ")}`);
  }
  return words.join("; ");
}

function Keys() {
  const [told, setTold] = useState(/** @type {any} */ (null));
  useEffect(() => { get("/ui/api/keys").then(setTold, (error) => toast(explain(error), true)); }, []);
  if (!told) return html`<${Skeleton} lines=${3} />`;
  return html`<section class="panel section"><header><h2>Keys</h2><p class="sub small">${plural(told.sessions, "browser")} signed in</p></header>
    ${told.keys.length === 0 ? html`<div class="problems"><${Empty} title="No key is configured">Programs of this machine alone are answered, and they may do everything.<//></div>` : html`<div class="table-wrap"><table><thead><tr><th>Name</th><th>Opens</th><th>Expires</th></tr></thead><tbody>${told.keys.map((/** @type {any} */ one) => html`<tr key=${one.name}><td>${one.name}</td><td>${one.admin ? "everything" : one.routes ? one.routes.join(", ") : "all models"}${one.origins ? `, on ${one.origins.join(", ")}` : ""}</td><td>${one.expires_at ? html`${clock(one.expires_at)}${one.expires_at < now.value ? html` <span class="status bad">expired</span>` : ""}` : "never"}</td></tr>`)}</tbody></table></div>`}</section>`;
}
