// @ts-check
// Talk to any model, or to two beside each other: what the wait was, and how fast it answers.

import { explain, get, session, toast } from "./api.js";
import { count, duration, html, now, seconds, useEffect, useMemo, useRef, useState } from "./lib.js";
import { models } from "./models.js";
import { Empty, Icon, PageHead, StatePill } from "./parts.js";
import { Markdown } from "./markdown.js";

/**
 * @typedef {{role: string, text: string, image?: string, thought?: string, model?: string, phase?: string, began?: number,
 *   first?: number, ended?: number, tokens?: number, waited?: number, error?: string, running?: boolean}} Turn
 */

/** @param {{argument: string}} props */
export function View({ argument }) {
  const [names, setNames] = useState(/** @type {string[] | null} */ (null));
  const [left, setLeft] = useState(argument);
  const [right, setRight] = useState("");
  const [kind, setKind] = useState("chat");
  useEffect(() => {
    get("/v1/models").then((list) => {
      const found = /** @type {string[]} */ (list.data.map((/** @type {any} */ one) => one.id));
      setNames(found);
      setLeft((now) => (found.includes(now) ? now : found[0] ?? ""));
    }, (error) => { toast(explain(error), true); setNames([]); });
  }, []);
  const options = (names ?? []).map((name) => html`<option key=${name} value=${name}>${name}</option>`);
  return html`<${PageHead} title="Playground" sub=${session.value?.admin ? "What your models say, and how long they take" : "Your models"}>
      <select aria-label="Model" value=${left} onChange=${(/** @type {any} */ e) => setLeft(e.target.value)}>${options}</select>
      ${kind === "chat" && html`<select aria-label="Second model" value=${right} onChange=${(/** @type {any} */ e) => setRight(e.target.value)}><option value="">Compare with…</option>${options}</select>`}
      <select aria-label="Task" value=${kind} onChange=${(/** @type {any} */ e) => setKind(e.target.value)}><option value="chat">Chat</option><option value="embeddings">Embeddings</option><option value="rerank">Rerank</option><option value="transcription">Transcription</option></select>
    <//>
    ${names?.length === 0 ? html`<${Empty} title="There is no model for this key" />` : kind === "chat" ? html`<${Chat} models=${right ? [left, right] : [left]} />` : html`<${Other} kind=${kind} model=${left} />`}`;
}

/** @param {{models: string[]}} props */
function Chat({ models: asked }) {
  const [turns, setTurns] = useState(/** @type {Turn[][]} */ ([[], []]));
  const [text, setText] = useState("");
  const [image, setImage] = useState("");
  const [system, setSystem] = useState("");
  const [temperature, setTemperature] = useState(0.7);
  const [topP, setTopP] = useState(1);
  const [most, setMost] = useState(1024);
  const [busy, setBusy] = useState(false);
  const abort = useRef(/** @type {AbortController | null} */ (null));
  const file = useRef(/** @type {HTMLInputElement | null} */ (null));
  const latest = useRef(turns);
  useEffect(() => () => abort.current?.abort(), []);

  /** @param {number} lane @param {(turns: Turn[]) => Turn[]} change */
  const change = (lane, change) => {
    latest.current = latest.current.map((one, at) => (at === lane ? change(one) : one));
    setTurns(latest.current);
  };
  /** @param {number} lane @param {Partial<Turn>} parts */
  const amend = (lane, parts) => change(lane, (one) => [...one.slice(0, -1), { .../** @type {Turn} */ (one.at(-1)), ...parts }]);

  /** One answer after the other: two models may have to take turns. */
  const answer = async () => {
    setBusy(true);
    const control = (abort.current = new AbortController());
    for (const [lane, model] of asked.entries()) {
      if (control.signal.aborted) break;
      const messages = [...(system ? [{ role: "system", content: system }] : []), ...latest.current[lane].map(toMessage)];
      change(lane, (one) => [...one, { role: "assistant", text: "", model, began: performance.now(), phase: "sent", running: true }]);
      try {
        await stream({ model, messages, temperature, top_p: topP, max_tokens: most }, control.signal, (parts) => amend(lane, parts));
      } catch (error) {
        amend(lane, control.signal.aborted ? { error: "stopped" } : { error: explain(error) });
      }
      amend(lane, { running: false, ended: performance.now() });
    }
    setBusy(false);
  };
  const ask = () => {
    if (busy || !(text.trim() || image) || !asked[0]) return;
    for (const lane of asked.keys()) change(lane, (one) => [...one, { role: "user", text, image }]);
    setText("");
    setImage("");
    answer();
  };
  const again = () => {
    for (const lane of asked.keys()) change(lane, (one) => (one.at(-1)?.role === "assistant" ? one.slice(0, -1) : one));
    answer();
  };
  const clear = () => { latest.current = [[], []]; setTurns(latest.current); };
  const attach = (/** @type {any} */ event) => {
    const [chosen] = event.target.files;
    if (!chosen) return;
    const reader = new FileReader();
    reader.onload = () => setImage(String(reader.result));
    reader.readAsDataURL(chosen);
    event.target.value = "";
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
  };
  const slider = (/** @type {string} */ label, /** @type {number} */ value, /** @type {(n: number) => void} */ set, /** @type {number[]} */ [min, max, step]) =>
    html`<label><span class="row">${label}<output>${value}</output></span><input type="range" min=${min} max=${max} step=${step} value=${value} onInput=${(/** @type {any} */ e) => set(Number(e.target.value))} /></label>`;
  return html`<div class="play"><div>
      <div class="columns">${asked.map((model, lane) => html`<section key=${lane} class="panel conversation" aria-label=${`Conversation with ${model}`}>
        ${asked.length > 1 && html`<h2>${model}</h2>`}
        ${turns[lane].length === 0 ? html`<${Empty} title=${model ? `Ask ${model} something` : "Choose a model"}>It starts with the first question, if it does not run yet.<//>` : ""}
        ${turns[lane].map((turn, at) => html`<${OneTurn} key=${at} turn=${turn} />`)}
      </section>`)}</div>
      <form class="panel composer" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); ask(); }}>
        ${image && html`<div><img class="attached" src=${image} alt="attached" width="120" /><button type="button" class="button quiet small" onClick=${() => setImage("")}>Remove</button></div>`}
        <textarea aria-label="Message" placeholder="Your message" rows="2" value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)} onKeyDown=${onKeyDown}></textarea>
        <footer>
          <input ref=${file} type="file" accept="image/*" hidden onChange=${attach} />
          <button type="button" class="button quiet small" onClick=${() => file.current?.click()}><${Icon} name="image" size=${16} />Image</button>
          <button type="button" class="button quiet small" disabled=${busy || !turns[0].some((one) => one.role === "user")} onClick=${again}><${Icon} name="restart" size=${15} />Regenerate</button>
          <button type="button" class="button quiet small" disabled=${busy || !turns[0].length} onClick=${clear}>Clear</button>
          <span class="spring"></span>
          ${busy ? html`<button type="button" class="button" onClick=${() => abort.current?.abort()}><${Icon} name="stop" size=${15} />Stop</button>` : html`<button class="button primary" disabled=${!(text.trim() || image)}><${Icon} name="send" size=${16} />Send</button>`}
        </footer>
      </form>
    </div>
    <aside class="panel play-side" aria-label="Parameters">
      <label>System prompt<textarea rows="4" value=${system} placeholder="None" onInput=${(/** @type {any} */ e) => setSystem(e.target.value)}></textarea></label>
      ${slider("Temperature", temperature, setTemperature, [0, 2, 0.1])}
      ${slider("Top p", topP, setTopP, [0.05, 1, 0.05])}
      ${slider("Tokens at most", most, setMost, [64, 8192, 64])}
    </aside></div>`;
}

/** @param {Turn} turn */
function toMessage(turn) {
  if (!turn.image) return { role: turn.role, content: turn.text };
  return { role: turn.role, content: [{ type: "text", text: turn.text }, { type: "image_url", image_url: { url: turn.image } }] };
}

/** @param {{turn: Turn}} props */
function OneTurn({ turn }) {
  if (turn.role === "user") return html`<div class="turn user"><span class="who">You</span>${turn.image && html`<img class="attached" src=${turn.image} alt="attached" />`}${turn.text && html`<div class="text">${turn.text}</div>`}</div>`;
  return html`<div class="turn"><span class="who">${turn.model}</span>
    ${turn.running && turn.first === undefined ? html`<${Wait} turn=${turn} />` : ""}
    ${turn.thought && html`<details><summary class="sub small">Thoughts</summary><p class="sub small">${turn.thought}</p></details>`}
    ${turn.text && html`<${Markdown} text=${turn.text} />`}
    ${turn.error && html`<p class="problem" role="alert">${turn.error === "stopped" ? "You stopped it." : turn.error}</p>`}
    ${!turn.running && html`<${Speed} turn=${turn} />`}</div>`;
}

/** What it waits for, as it happens. @param {{turn: Turn}} props */
function Wait({ turn }) {
  const known = [...models.value.values()].map((one) => one.value).find((one) => one.name === turn.model || one.routes.some((/** @type {any} */ route) => route.name === turn.model));
  const elapsed = Math.max(0, (performance.now() - (turn.began ?? 0)) / 1000 + now.value * 0);
  let words = turn.phase === "sent" ? "waiting for the first token" : turn.phase;
  if (known && known.state !== "ready") {
    const at = known.why?.at != null ? known.why.at - now.value : null;
    words = known.why ? `${known.why.text}${at != null && at > 0 ? ` in about ${duration(at)}` : ""}` : known.phase ?? known.state;
    if (known.ready_at && known.ready_at > now.value) words += `, ready in about ${duration(known.ready_at - now.value)}`;
  }
  return html`<div class="wait tone-loading" role="status"><span>${known && known.state !== "ready" ? html`<${StatePill} state=${known.state} /> ` : ""}${words} · ${duration(elapsed)}</span>
    <div class="progress unknown"><i style=${{ width: "30%" }}></i></div></div>`;
}

/** @param {{turn: Turn}} props */
function Speed({ turn }) {
  const writing = turn.ended && turn.first ? (turn.ended - turn.first) / 1000 : 0;
  const facts = [];
  if (turn.first && turn.began) facts.push(`first token after ${seconds((turn.first - turn.began) / 1000)}`);
  if (turn.waited != null && turn.waited > 0.5) facts.push(`of which ${seconds(turn.waited)} for the model to start`);
  if (turn.tokens) facts.push(`${count(turn.tokens)} tokens`);
  if (turn.tokens && writing > 0) facts.push(`${Math.round(turn.tokens / writing)} tokens/s`);
  return facts.length ? html`<div class="speed">${facts.map((one) => html`<span>${one}</span>`)}</div>` : "";
}

/**
 * Ask, and tell each piece of the answer as it comes.
 * @param {any} body @param {AbortSignal} signal @param {(parts: Partial<Turn>) => void} tell
 */
async function stream(body, signal, tell) {
  const began = performance.now();
  const response = await fetch("/v1/chat/completions", {
    method: "POST", signal, headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
  });
  if (!response.ok || !response.body) throw new Error((await response.json().catch(() => null))?.error?.message ?? `status ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", text = "", thought = "", tokens = 0, whole = false;
  const take = (/** @type {string} */ line) => {
    if (line.startsWith(": hotseat")) { tell({ phase: line.slice(2).replace(/^hotseat [^:]*: /, ""), waited: (performance.now() - began) / 1000 }); return; }
    if (!line.startsWith("data:")) return;
    const data = line.slice(5).trim();
    if (data === "[DONE]") { whole = true; return; }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message ?? "the answer failed");
    const delta = chunk.choices?.[0]?.delta ?? {};
    if (delta.content || delta.reasoning_content) {
      if (!tokens) tell({ first: performance.now() });
      tokens += 1;
      text += delta.content ?? "";
      thought += delta.reasoning_content ?? "";
    }
    if (chunk.choices?.[0]?.finish_reason) whole = true;
    if (chunk.usage?.completion_tokens) tokens = chunk.usage.completion_tokens;
  };
  let told = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line.trimEnd());
    if (performance.now() - told > 30) { told = performance.now(); tell({ text, thought, tokens }); }
  }
  tell({ text, thought, tokens });
  if (!whole) throw new Error("the answer broke off");
}

/** @param {{kind: string, model: string}} props */
function Other({ kind, model }) {
  const [text, setText] = useState("");
  const [documents, setDocuments] = useState("");
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [result, setResult] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  useMemo(() => setResult(null), [kind]);
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setResult(null);
    const began = performance.now();
    try {
      const request = kind === "transcription" ? transcription(model, file) : json(kind, model, text, documents);
      const response = await fetch(`/v1/${kind === "transcription" ? "audio/transcriptions" : kind}`, { method: "POST", ...request });
      const body = await response.json().catch(() => null);
      if (!response.ok) throw new Error(body?.error?.message ?? `status ${response.status}`);
      setResult({ body, took: (performance.now() - began) / 1000 });
    } catch (error) {
      setResult({ error: explain(error) });
    }
    setBusy(false);
  };
  return html`<form class="panel moment" onSubmit=${run}><div class="skeletonless play-side">
      ${kind === "transcription" ? html`<label>Recording<input type="file" accept="audio/*" required onChange=${(/** @type {any} */ e) => setFile(e.target.files[0] ?? null)} /></label>`
      : html`<label>${kind === "rerank" ? "Query" : "Text"}<textarea rows="3" required value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)}></textarea></label>`}
      ${kind === "rerank" && html`<label>Documents, one a line<textarea rows="6" required value=${documents} onInput=${(/** @type {any} */ e) => setDocuments(e.target.value)}></textarea></label>`}
      <button class="button primary" disabled=${busy}>${busy ? "Waiting…" : "Send"}</button>
    </div>
    ${result?.error && html`<p class="problem" role="alert">${result.error}</p>`}
    ${result?.body && html`<${Result} kind=${kind} result=${result} documents=${documents.split("\n").filter(Boolean)} />`}</form>`;
}

/** @param {string} kind @param {string} model @param {string} text @param {string} documents */
function json(kind, model, text, documents) {
  const body = kind === "rerank" ? { model, query: text, documents: documents.split("\n").filter(Boolean) } : { model, input: text };
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** @param {string} model @param {File | null} file */
function transcription(model, file) {
  const body = new FormData();
  body.append("model", model);
  if (file) body.append("file", file);
  return { body };
}

/** @param {{kind: string, result: any, documents: string[]}} props */
function Result({ kind, result, documents }) {
  const { body, took } = result;
  const vector = body.data?.[0]?.embedding;
  return html`<section aria-label="Result"><p class="speed"><span>after ${seconds(took)}</span>${vector && html`<span>${count(vector.length)} dimensions</span>`}</p>
    ${kind === "rerank" && body.results ? html`<ol class="markdown">${body.results.map((/** @type {any} */ one) => html`<li key=${one.index}>${documents[one.index]} <span class="sub">${Number(one.relevance_score).toFixed(3)}</span></li>`)}</ol>`
    : kind === "transcription" && body.text != null ? html`<p>${body.text}</p>`
    : html`<pre class="source">${vector ? vector.slice(0, 48).map((/** @type {number} */ n) => n.toFixed(4)).join("  ") + (vector.length > 48 ? "  …" : "") : JSON.stringify(body, null, 2).slice(0, 20000)}</pre>`}</section>`;
}
