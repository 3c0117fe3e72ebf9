// @ts-check
// The models and the box, kept up to date for all views.

import { follow } from "./api.js";
import { batch, computed, signal } from "./lib.js";

/**
 * @typedef {{name: string, state: string, phase: string | null, since: number | null, expected_s: number | null,
 *   ready_at: number | null, start_s: number | null, in_flight: number, waiting: number, requested: boolean,
 *   why: {text: string, at: number | null} | null, footprint: Record<string, number>, need: Record<string, number>,
 *   tokens_s: number | null, idle_at: number | null, held_until: number | null, pinned: boolean, sleeps: boolean,
 *   retry_at: number | null, error: {summary: string, hint: string | null, lines: string[]} | null, failures: number,
 *   starts: number, requests: number, tokens_out: number, used_at: number | null,
 *   routes: {name: string, path: string, aliases: string[]}[], runtime: string, target: string, engine: string}} Model
 * @typedef {{version: string, began_at: number, budget: Record<string, number>,
 *   devices: {device: string, name: string, total_mib: number, used_mib: number, busy_percent: number | null}[],
 *   unusable: Record<string, string>, captures: Record<string, {file: string, until: string, requests: number, bytes: number}>,
 *   default_route: string | null}} Box
 */

/** By name; each model is a signal of its own, so that one change draws one card. */
export const models = signal(/** @type {Map<string, import("./lib.js").Signal<Model>>} */ (new Map()));
export const box = signal(/** @type {Box | null} */ (null));

/** Names that a request may give as its model. */
export const modelNames = computed(() => [...models.value.keys()]);

/** @param {Record<string, any>} parts @param {boolean} everything */
export function update(parts, everything) {
  batch(() => {
    let names = models.value;
    if (everything) names = new Map([...names].filter(([name]) => `model/${name}` in parts));
    for (const [key, value] of Object.entries(parts)) {
      if (key === "box") { box.value = value; continue; }
      const name = key.slice("model/".length);
      const known = names.get(name);
      if (value === null) { names = new Map(names); names.delete(name); }
      else if (known) known.value = value;
      else names = new Map(names).set(name, signal(value));
    }
    if (names !== models.value) models.value = names;
  });
}

export const followModels = () => follow("seats", update);
