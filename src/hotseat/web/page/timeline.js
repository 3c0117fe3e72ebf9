// @ts-check
// What each model did when: lanes of states, requests as density, swaps as links between the lanes.

import { explain, get, toast } from "./api.js";
import { clock, count, duration, html, plural, seconds, STATES, tone, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { Choice, Empty, PageHead, Skeleton } from "./parts.js";

const SPANS = [{ value: 15, label: "15 min" }, { value: 60, label: "1 hour" }, { value: 1440, label: "1 day" }, { value: 10080, label: "1 week" }];
const LANE = 46, TOP = 14, AXIS = 30, BAR = 26;
const TONES = ["ready", "loading", "leaving", "asleep", "failed"];
const WORDS = /** @type {Record<string, string>} */ ({ ready: "ready", loading: "loading", leaving: "finishing or stopping", asleep: "asleep", failed: "failed" });

/**
 * @typedef {{from: number, to: number, bucket_s: number, models: string[],
 *   lanes: Record<string, {state: string, cause: string, from: number, to: number}[]>,
 *   swaps: {at: number, from: string, to: string}[], failures: {at: number, model: string, summary: string, hint: string | null}[],
 *   traffic: {at: number, model: string, requests: number, errors: number, tokens_in: number, tokens_out: number}[]}} Told
 */

export function View() {
  const [span, setSpan] = useState(60);
  const [told, setTold] = useState(/** @type {Told | null} */ (null));
  const [moment, setMoment] = useState(/** @type {{at: number, model: string} | null} */ (null));
  useEffect(() => {
    let here = true, timer = 0;
    const load = async () => {
      try {
        const found = await get(`/ui/api/timeline?minutes=${span}`);
        if (here) setTold(found);
      } catch (error) {
        if (here) toast(explain(error), true);
      }
      if (here) timer = window.setTimeout(load, span <= 60 ? 2000 : 20000);
    };
    load();
    return () => { here = false; clearTimeout(timer); };
  }, [span]);
  const quiet = told && Object.keys(told.lanes).length === 0 && told.traffic.length === 0;
  return html`<${PageHead} title="Timeline" sub=${told ? summary(told) : "Who had the GPU, and when"}>
      <${Choice} label="How far back" value=${span} options=${SPANS} onChange=${(/** @type {number} */ value) => { setSpan(value); setMoment(null); }} />
    <//>
    ${told === null ? html`<${Skeleton} lines=${6} />` : html`
    ${quiet ? html`<${Empty} title="Nothing has run in this time">Ask a model something, and its lane begins.<//>` : html`<section class="panel timeline" aria-label="Lanes"><${Lanes} told=${told} moment=${moment} onMoment=${setMoment} />
      <div class="legend">${TONES.map((one) => html`<span class=${`tone-${one}`}><i></i>${WORDS[one]}</span>`)}<span>▁▃▂ requests</span><span>⤷ a swap</span></div></section>`}
    ${moment && html`<${Moment} told=${told} moment=${moment} />`}
    ${told.traffic.length > 1 && html`<section class="panel chart"><h2>Requests and tokens</h2><${Chart} told=${told} /></section>`}
    ${told.failures.length > 0 && html`<section class="panel chart"><h2>Failures</h2><ul class="checks">${told.failures.slice(-20).reverse().map((one) => html`<li key=${one.at + one.model}><span class="sub">${clock(one.at)}</span><div><p><strong>${one.model}</strong>: ${one.summary}</p>${one.hint && html`<p class="fix">${one.hint}</p>`}</div></li>`)}</ul></section>`}`}`;
}

/** @param {Told} told */
function summary(told) {
  const requests = told.traffic.reduce((sum, one) => sum + one.requests, 0);
  const serving = Object.values(told.lanes).flat().filter((one) => one.state === "ready").reduce((sum, one) => sum + one.to - one.from, 0);
  const words = [plural(requests, "request"), plural(told.swaps.length, "swap")];
  if (told.failures.length) words.push(plural(told.failures.length, "failure"));
  if (serving) words.push(`models were ready for ${duration(serving)} in all`);
  return words.join(" · ");
}

/** @param {{told: Told, moment: {at: number, model: string} | null, onMoment: (moment: {at: number, model: string} | null) => void}} props */
function Lanes({ told, moment, onMoment }) {
  const ref = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [hint, setHint] = useState("");
  const names = told.models;
  const geometry = useRef({ left: 0, width: 1 });
  const draw = () => {
    const canvas = ref.current;
    if (!canvas) return;
    const width = canvas.clientWidth, height = TOP + names.length * LANE + AXIS, ratio = devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.scale(ratio, ratio);
    geometry.current = paint(pen, told, width, moment);
  };
  useLayoutEffect(draw);
  useEffect(() => {
    const observer = new ResizeObserver(draw);
    if (ref.current) observer.observe(ref.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => { observer.disconnect(); scheme.removeEventListener("change", draw); };
  }, [told]);
  const find = (/** @type {MouseEvent} */ event) => {
    const lane = names[Math.floor((event.offsetY - TOP) / LANE)];
    const { left, width } = geometry.current;
    const at = told.from + ((event.offsetX - left) / width) * (told.to - told.from);
    return lane && at >= told.from && at <= told.to ? { at, model: lane } : null;
  };
  const onMove = (/** @type {MouseEvent} */ event) => {
    const here = find(event);
    const span = here && told.lanes[here.model]?.find((one) => one.from <= here.at && here.at <= one.to);
    setHint(here ? `${clock(here.at, true)}  ${here.model}: ${span ? `${STATES[span.state]}, ${duration(span.to - span.from)}${span.cause ? ` (${span.cause.replaceAll("_", " ")})` : ""}` : "stopped"}` : "");
  };
  return html`<canvas ref=${ref} title=${hint} role="img" aria-label=${`Timeline of ${names.join(", ")}. ${summary(told)}`} onMouseMove=${onMove} onClick=${(/** @type {MouseEvent} */ e) => onMoment(find(e))}></canvas>
    <div class="visually-hidden"><ul>${names.map((name) => html`<li>${name}: ${(told.lanes[name] ?? []).slice(-20).map((one) => `${STATES[one.state]} from ${clock(one.from)} to ${clock(one.to)}`).join("; ") || "stopped"} <button onClick=${() => onMoment({ at: told.to - told.bucket_s / 2, model: name })}>Requests of ${name} just now</button></li>`)}</ul></div>`;
}

/** @param {CanvasRenderingContext2D} pen @param {Told} told @param {number} width @param {{at: number, model: string} | null} moment */
function paint(pen, told, width, moment) {
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const font = style.fontFamily;
  pen.font = `600 13px ${font}`;
  const narrow = width < 560;
  const longest = Math.max(...told.models.map((name) => pen.measureText(name).width), 40);
  const left = narrow ? 12 : Math.min(180, longest + 36), right = 18;
  const wide = Math.max(40, width - left - right), bottom = TOP + told.models.length * LANE;
  const x = (/** @type {number} */ at) => left + ((at - told.from) / (told.to - told.from)) * wide;

  // Axis
  pen.font = `12px ${font}`;
  pen.textAlign = "center";
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const step = steps.find((one) => ((told.to - told.from) / one) * 74 < wide) ?? 86400;
  const shift = new Date().getTimezoneOffset() * 60;
  for (let at = Math.ceil((told.from - shift) / step) * step + shift; at < told.to; at += step) {
    pen.fillStyle = colour("line");
    pen.fillRect(Math.round(x(at)), TOP - 4, 1, bottom - TOP + 6);
    const label = step >= 43200 ? new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" }) : new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    pen.fillStyle = colour("soft");
    if (x(at) > left + 14 && x(at) < width - 20) pen.fillText(label, x(at), bottom + 20);
  }

  // Lanes
  const peak = Math.max(1, ...told.traffic.map((one) => one.requests));
  told.models.forEach((name, row) => {
    const y = TOP + row * LANE + (LANE - BAR) / 2;
    pen.fillStyle = colour("sunken");
    rounded(pen, left, y, wide, BAR, 6);
    for (const one of told.lanes[name] ?? []) {
      const group = tone(one.state);
      pen.fillStyle = group === "ready" ? colour("ready-soft") : colour(group);
      pen.globalAlpha = group === "ready" ? 1 : 0.85;
      const begin = Math.max(left, x(one.from)), end = Math.min(left + wide, Math.max(x(one.to), x(one.from) + 2));
      rounded(pen, begin, y, Math.max(2, end - begin), BAR, Math.min(6, (end - begin) / 3));
      pen.globalAlpha = 1;
      if (group === "ready") { pen.fillStyle = colour("ready"); pen.fillRect(begin, y + BAR - 2, Math.max(1, end - begin), 2); }
    }
    for (const one of told.traffic) {
      if (one.model !== name) continue;
      const tall = Math.max(2, (BAR - 6) * Math.sqrt(one.requests / peak)), begin = Math.max(left, x(one.at)), end = Math.min(left + wide, x(one.at + told.bucket_s));
      if (end <= begin) continue;
      pen.fillStyle = one.errors ? colour("failed") : colour("ready");
      pen.fillRect(begin + 0.5, y + BAR - tall, Math.max(1, end - begin - 1), tall);
    }
    pen.textAlign = "left";
    pen.font = `600 13px ${font}`;
    pen.fillStyle = colour("text");
    if (narrow) { pen.font = `600 11px ${font}`; pen.fillText(name, left + 4, y - 2); } else pen.fillText(clip(pen, name, left - 28), 18, y + 18);
  });

  // Swaps and failures
  for (const one of told.swaps) {
    const from = told.models.indexOf(one.from), to = told.models.indexOf(one.to);
    if (from < 0 || to < 0) continue;
    const sign = Math.sign(to - from), at = x(one.at);
    const y1 = TOP + from * LANE + LANE / 2 + sign * (BAR / 2), y2 = TOP + to * LANE + LANE / 2 - sign * (BAR / 2);
    pen.strokeStyle = pen.fillStyle = colour("soft");
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(at, y1);
    pen.bezierCurveTo(at, y1 + sign * 12, at + 4, y2 - sign * 12, at + 4, y2 - sign * 4);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(at + 0.5, y2 - sign * 6); pen.lineTo(at + 7.5, y2 - sign * 6); pen.lineTo(at + 4, y2);
    pen.fill();
  }
  for (const one of told.failures) {
    const row = told.models.indexOf(one.model);
    if (row < 0) continue;
    pen.fillStyle = colour("failed");
    pen.beginPath();
    pen.arc(x(one.at), TOP + row * LANE + (LANE - BAR) / 2, 4.5, 0, 7);
    pen.fill();
  }
  if (moment) {
    pen.fillStyle = colour("text");
    pen.globalAlpha = 0.7;
    pen.fillRect(Math.round(x(moment.at)), TOP - 4, 1.5, bottom - TOP + 4);
    pen.globalAlpha = 1;
  }
  return { left, width: wide };
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} w @param {number} h @param {number} r */
function rounded(pen, x, y, w, h, r) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, r);
  pen.fill();
}

/** @param {CanvasRenderingContext2D} pen @param {string} text @param {number} width */
function clip(pen, text, width) {
  let shown = text;
  while (shown.length > 1 && pen.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`;
  return shown;
}

/** What was asked at the time that was clicked. @param {{told: Told, moment: {at: number, model: string}}} props */
function Moment({ told, moment }) {
  const from = Math.floor(moment.at / told.bucket_s) * told.bucket_s, to = from + told.bucket_s;
  const [found, setFound] = useState(/** @type {any[] | null} */ (null));
  useEffect(() => {
    setFound(null);
    get(`/ui/api/requests?since=${Math.floor(from)}&until=${Math.ceil(to)}`).then((answer) => setFound(answer.requests), () => setFound([]));
  }, [from, moment.model]);
  const sum = told.traffic.find((one) => one.model === moment.model && one.at === from);
  const state = told.lanes[moment.model]?.find((one) => one.from <= moment.at && moment.at <= one.to);
  const own = (found ?? []).filter((one) => one.model === moment.model);
  return html`<section class="panel moment" aria-live="polite"><h2>${moment.model}, ${clock(from)} to ${clock(to)}</h2>
    <p class="sub">${state ? `${STATES[state.state]} for ${duration(state.to - state.from)}` : "stopped"} · ${sum ? `${plural(sum.requests, "request")}, ${sum.errors ? plural(sum.errors, "error") + ", " : ""}${count(sum.tokens_in)} tokens in, ${count(sum.tokens_out)} out` : "no requests"}</p>
    ${own.length > 0 && html`<div class="table-wrap" tabindex="0" role="region" aria-label="Requests of this time"><table><thead><tr><th>Time</th><th>Key</th><th>Status</th><th class="number">Waited</th><th class="number">First token</th><th class="number">Took</th><th class="number">Tokens out</th></tr></thead><tbody>${own.slice(0, 100).map((one) => html`<tr key=${one.id}><td>${clock(one.at, true)}</td><td>${one.key || "–"}</td><td>${one.status} ${one.code}</td><td class="number">${seconds(one.waited_s)}</td><td class="number">${seconds(one.first_byte_s)}</td><td class="number">${seconds(one.duration_s)}</td><td class="number">${count(one.tokens_out)}</td></tr>`)}</tbody></table></div>`}
    ${sum && own.length === 0 && found ? html`<p class="sub small">Single requests are kept only of the time in which somebody looks at this page.</p>` : ""}</section>`;
}

/** @param {{told: Told}} props */
function Chart({ told }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    let plot = /** @type {any} */ (null), here = true, observer = /** @type {ResizeObserver | null} */ (null);
    loadPlot().then((Plot) => {
      const box = ref.current;
      if (!here || !box) return;
      const style = getComputedStyle(document.documentElement), colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
      const times = [];
      for (let at = Math.ceil(told.from / told.bucket_s) * told.bucket_s; at <= told.to; at += told.bucket_s) times.push(at);
      const sums = times.map((at) => told.traffic.filter((one) => one.at === at));
      const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
      plot = new Plot({
        width: box.clientWidth, height: 190, cursor: { y: false },
        scales: { x: { time: true }, tokens: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ max) => [0, Math.max(1, max)] }, y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ max) => [0, Math.max(1, max)] } },
        axes: [{ ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((one) => clock(one)), space: 90 }, { ...axis, size: 46 }, { ...axis, scale: "tokens", side: 1, grid: { show: false }, size: 60 }],
        series: [{ label: "Time", value: (/** @type {any} */ _, /** @type {number | null} */ at) => (at == null ? "–" : clock(at)) }, { label: "Requests", stroke: colour("ready"), width: 2, fill: colour("ready-soft"), points: { show: false } }, { label: "Tokens out", scale: "tokens", stroke: colour("asleep"), width: 1.5, points: { show: false } }],
      }, [times, sums.map((all) => all.reduce((sum, one) => sum + one.requests, 0)), sums.map((all) => all.reduce((sum, one) => sum + one.tokens_out, 0))], box);
      observer = new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 190 }));
      observer.observe(box);
    });
    return () => { here = false; observer?.disconnect(); plot?.destroy(); };
  }, [told]);
  return html`<div ref=${ref} role="img" aria-label="Requests and tokens over time"></div>`;
}

/** The plotting library and its style, when they are first needed. */
async function loadPlot() {
  if (!document.querySelector('link[href="/ui/vendor/uplot.css"]')) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = "/ui/vendor/uplot.css";
    document.head.append(link);
  }
  return /** @type {any} */ (await import("./vendor/uplot.js")).default;
}
