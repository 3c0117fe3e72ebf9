// @ts-check
// A model's words as HTML: rendered as Markdown, and cleaned, since a model may write anything.

import { marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";
import { html, useLayoutEffect, useRef } from "./lib.js";
import { copyText } from "./parts.js";

const ALLOWED = {
  ALLOWED_TAGS: ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "del", "code", "pre", "blockquote",
    "ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td", "sup", "sub", "kbd"],
  ALLOWED_ATTR: ["href", "title", "align", "start", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

marked.use({
  renderer: {
    /** HTML in an answer is text like any other; a line break may be one. */
    html(/** @type {any} */ { text }) { return /^<br\s*\/?>\s*$/i.test(text) ? "<br>" : escape(text); },
    image(/** @type {any} */ { href, title, text }) { return `<a href="${escape(href)}">${escape(title || text || href)}</a>`; },
  },
});

/** @param {string} text */
function escape(text) {
  return text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}

/** Nothing of what a model writes is loaded by itself: images become links. @param {string} text */
function toFragment(text) {
  const made = /** @type {string} */ (marked.parse(text, { async: false, gfm: true, breaks: true }));
  const fragment = /** @type {DocumentFragment} */ (DOMPurify.sanitize(made, ALLOWED));
  for (const link of fragment.querySelectorAll("a")) {
    link.rel = "noreferrer noopener nofollow";
    link.target = "_blank";
  }
  for (const code of fragment.querySelectorAll("pre > code")) {
    const language = [...code.classList].find((one) => one.startsWith("language-"))?.slice(9) ?? "";
    const pre = /** @type {HTMLElement} */ (code.parentElement);
    const box = document.createElement("div");
    box.className = "code";
    const head = document.createElement("div");
    head.className = "code-head";
    const name = document.createElement("span");
    name.textContent = language || "code";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button quiet small";
    button.textContent = "Copy";
    button.dataset.copy = "code";
    head.append(name, button);
    pre.tabIndex = 0;
    pre.replaceWith(box);
    box.append(head, pre);
  }
  for (const one of fragment.querySelectorAll("[class]")) {
    if (!["code", "code-head", "button quiet small"].includes(one.className)) one.removeAttribute("class");
  }
  return fragment;
}

/** Longer texts are shown as they are: to render them would hold up the page. */
const MOST = 400_000;

/** @param {{text: string}} props */
export function Markdown({ text }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const drawn = useRef({ at: 0, timer: 0 });
  useLayoutEffect(() => {
    const draw = () => {
      drawn.current.at = performance.now();
      if (text.length > MOST) ref.current?.replaceChildren(text);
      else ref.current?.replaceChildren(toFragment(text));
    };
    clearTimeout(drawn.current.timer);
    const pause = Math.min(400, 40 + text.length / 200);
    const since = performance.now() - drawn.current.at;
    if (since >= pause) draw(); else drawn.current.timer = window.setTimeout(draw, pause - since);
  }, [text]);
  const onClick = (/** @type {MouseEvent} */ event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-copy]");
    if (!button) return;
    copyText(button.closest(".code")?.querySelector("code")?.textContent ?? "");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  return html`<div class="markdown" ref=${ref} onClick=${onClick}></div>`;
}
