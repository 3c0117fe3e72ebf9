// @ts-check
// The frame: sign-in, navigation by the address's fragment, and the view that it names.

import { attempt, connected, explain, send, session, toast, toasts, whoami } from "./api.js";
import { effect, html, render, signal, useEffect, useState } from "./lib.js";
import { box, followModels } from "./models.js";
import { Icon, Skeleton } from "./parts.js";
import { Seats } from "./seats.js";

const VIEWS = /** @type {Record<string, {label: string, admin: boolean, load?: () => Promise<any>}>} */ ({
  seats: { label: "Seats", admin: true },
  timeline: { label: "Timeline", admin: true, load: () => import("./timeline.js") },
  requests: { label: "Requests", admin: true, load: () => import("./requests.js") },
  logs: { label: "Logs", admin: true, load: () => import("./logs.js") },
  playground: { label: "Playground", admin: false, load: () => import("./playground.js") },
  connect: { label: "Connect", admin: false, load: () => import("./connect.js") },
  health: { label: "Health", admin: true, load: () => import("./health.js") },
});

/** The view's name and its argument, as in `#/logs/coder`. */
const place = signal(readPlace());
addEventListener("hashchange", () => { place.value = readPlace(); });

function readPlace() {
  const [view = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { view: Object.hasOwn(VIEWS, view) ? view : "", argument: decodeURIComponent(rest.join("/")) };
}

/** Light or dark by choice; without one, as the system has it. */
const theme = signal(localStorage.getItem("theme") ?? "");
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  if (theme.value) localStorage.setItem("theme", theme.value); else localStorage.removeItem("theme");
});

function toggleTheme() {
  const dark = theme.value ? theme.value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  theme.value = dark ? "light" : "dark";
}

function SignIn() {
  const [key, setKey] = useState("");
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      const second = /** @type {Record<string, string>} */ (session.value?.second_factor ? { "x-api-secret": secret } : {});
      await send("/ui/session", {}, "POST", { "x-api-key": key.trim(), ...second });
      await whoami();
    } catch (error) {
      setProblem(explain(error));
    }
    setBusy(false);
  };
  return html`<main class="sign-in"><form onSubmit=${submit}>
    <img src="/ui/icon.svg" alt="" width="44" height="44" />
    <h1>Sign in to hotseat</h1>
    <p class="sub">An admin key opens everything, a client's key its models.</p>
    <label>Key<input type="password" name="key" autocomplete="current-password" required autofocus value=${key}
      onInput=${(/** @type {any} */ e) => setKey(e.target.value)} aria-invalid=${problem ? "true" : "false"} aria-describedby="problem" /></label>
    ${session.value?.second_factor && html`<label>Second secret (X-API-Secret)<input type="password" name="secret" required value=${secret}
      onInput=${(/** @type {any} */ e) => setSecret(e.target.value)} /></label>`}
    <p id="problem" class="problem" role="alert">${problem}</p>
    <button class="button primary wide" disabled=${busy}>${busy ? "Signing in…" : "Sign in"}</button>
    <p class="sub small">You stay signed in for 12 hours. The key is not kept in this browser.</p>
  </form></main>`;
}

/** @param {{name: string, argument: string}} props */
function View({ name, argument }) {
  const [found, setFound] = useState(/** @type {any} */ (name === "seats" ? { name, View: Seats } : null));
  useEffect(() => {
    if (name === "seats") { setFound({ name, View: Seats }); return; }
    let here = true;
    VIEWS[name]?.load?.().then((module) => here && setFound({ name, View: module.View }), (error) => toast(explain(error), true));
    return () => { here = false; };
  }, [name]);
  useEffect(() => {
    document.title = `${VIEWS[name]?.label} · hotseat`;
    scrollTo(0, 0);
  }, [name]);
  if (found?.name !== name) return html`<${Skeleton} lines=${5} />`;
  return html`<${found.View} argument=${argument} />`;
}

function Shell() {
  const who = session.value;
  const admin = who?.admin ?? false;
  useEffect(() => (admin ? followModels() : undefined), [admin]);
  const open = Object.entries(VIEWS).filter(([, view]) => admin || !view.admin);
  const wanted = place.value.view || (admin ? "seats" : "playground");
  const name = open.some(([one]) => one === wanted) ? wanted : open[0]?.[0] ?? "playground";
  const captures = Object.keys(box.value?.captures ?? {});
  const signOut = () => attempt(async () => { await send("/ui/session", {}, "DELETE"); await whoami(); });
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>To the content</a>
    <nav aria-label="Pages">
      <a class="brand" href="#/"><img src="/ui/icon.svg" alt="" width="26" height="26" /><span>hotseat</span></a>
      <ul>${open.map(([one, view]) => html`<li key=${one}><a href=${`#/${one}`} aria-current=${one === name ? "page" : undefined}>
        <${Icon} name=${one} size=${20} /><span>${view.label}</span></a></li>`)}</ul>
      <div class="nav-foot">
        <button class="button quiet" onClick=${toggleTheme} title="Switch between light and dark"><${Icon} name="theme" /><span>Theme</span></button>
        ${who?.signed_in && html`<button class="button quiet" onClick=${signOut} title="Sign out"><${Icon} name="out" /><span>Sign out${who.key && html` <em>${who.key}</em>`}</span></button>`}
        ${box.value && html`<p class="version">version ${box.value.version}</p>`}
      </div>
    </nav>
    <main id="main" tabindex="-1">
      ${!connected.value && html`<div class="banner warn" role="status"><strong>hotseat does not answer.</strong> This page shows what it last knew, and reconnects by itself.</div>`}
      ${captures.length > 0 && html`<div class="banner bad" role="status"><strong>Capture is on:</strong> prompts and answers of ${captures.join(", ")} are written to a file. <a href="#/requests">Requests</a></div>`}
      <${View} name=${name} argument=${place.value.view === name ? place.value.argument : ""} />
    </main>
  </div>`;
}

function App() {
  const who = session.value;
  const body = who === null
    ? html`<main class="sign-in">${connected.value ? html`<${Skeleton} lines=${4} />` : html`<p class="banner warn" role="status">hotseat does not answer; trying again…</p>`}</main>`
    : who.allowed && (who.admin || !who.sign_in || who.key || who.signed_in) ? html`<${Shell} />` : html`<${SignIn} />`;
  return html`${body}<div class="toasts" role="status" aria-live="polite">${toasts.value.map(
    (one) => html`<div key=${one.id} class=${one.bad ? "toast bad" : "toast"}>${one.text}</div>`)}</div>`;
}

whoami();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
