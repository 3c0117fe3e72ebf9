// @ts-check
// What to enter in other programs, for the address in this browser's bar.

import { explain, get, session, toast } from "./api.js";
import { html, useEffect, useMemo, useState } from "./lib.js";
import { CopyButton, PageHead, Skeleton } from "./parts.js";
import qrcode from "./vendor/qrcode.js";

export function View() {
  const [told, setTold] = useState(/** @type {{url: string, clients: {name: string, title: string, text: string, note: string}[]} | null} */ (null));
  const [name, setName] = useState("curl");
  useEffect(() => { get("/ui/connect").then(setTold, (error) => toast(explain(error), true)); }, []);
  const chosen = told?.clients.find((one) => one.name === name) ?? told?.clients[0];
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return html`<${PageHead} title="Connect" sub=${html`Programs reach your models at <code>${location.origin}/v1</code>`} />
    ${!told ? html`<${Skeleton} lines=${6} />` : html`<div class="split"><section class="panel clients" aria-label="Programs">
      <ul>${told.clients.map((one) => html`<li key=${one.name}><button aria-pressed=${one === chosen} onClick=${() => setName(one.name)}>${one.title.split(/[:,]/)[0]}</button></li>`)}</ul>
      ${chosen && html`<div class="body"><header><h2>${chosen.title}</h2><${CopyButton} text=${chosen.text} /></header>
        <div class="code"><pre tabindex="0"><code>${chosen.text}</code></pre></div>
        ${chosen.note && html`<p class="sub">${chosen.note}</p>`}
        ${session.value?.sign_in && html`<p class="sub small">Keys are named, never shown: the program reads its own from the environment.</p>`}</div>`}
    </section>
    <aside class="panel qr" aria-label="On a phone"><${Code} text=${`${location.origin}/ui/`} /><div><h2>On a phone</h2>
      <p class="sub small">${local ? "This address is of this machine alone. Open the page by the machine's name or address in your network, and the code leads there." : "Scan it in the same network; sign in there with a key."}</p></div></aside></div>`}`;
}

/** @param {{text: string}} props */
function Code({ text }) {
  const path = useMemo(() => {
    const code = qrcode(0, "M");
    code.addData(text);
    code.make();
    const size = code.getModuleCount(), parts = [];
    for (let row = 0; row < size; row++) for (let column = 0; column < size; column++) if (code.isDark(row, column)) parts.push(`M${column + 3} ${row + 3}h1v1h-1z`);
    return { d: parts.join(""), size: size + 6 };
  }, [text]);
  return html`<svg viewBox=${`0 0 ${path.size} ${path.size}`} role="img" aria-label=${`QR code for ${text}`}><path d=${path.d} fill="currentColor" shape-rendering="crispEdges" /></svg>`;
}
