// @ts-check
/** Requests to the plugin's routes: their addresses, and what comes back. */

/** @import { ApiFault } from './resources.js' */

const PLUGIN = new URL(import.meta.url.slice(0, import.meta.url.lastIndexOf('/static/') + 1));

/**
 * The address of a route.
 * @param {string} route @param {Record<string, string | number | readonly string[]>} [query]
 */
export function address(route, query = {}) {
  const texts = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((item) => `${name}=${encodeURIComponent(String(item))}`),
  );
  return `${PLUGIN.href}${route}${texts.length ? '?' : ''}${texts.join('&')}`;
}

/** The address of TensorBoard's own list of runs: its order gives the runs their colours. */
export function hostRunsAddress() {
  return new URL('../../runs', PLUGIN).href;
}

/** A failed request, in words for the user. */
class ApiError extends Error {
  /** @param {ApiFault} fault */
  constructor({ error, hint }) {
    super(error);
    this.hint = hint;
  }
}

/** @param {string} url @returns {Promise<any>} */
export async function json(url) {
  const response = await get(url);
  return response.json();
}

/** Little-endian float32 values, whatever the machine. @param {string} url @returns {Promise<Float32Array>} */
export async function floats(url) {
  const response = await get(url);
  const bytes = new DataView(await response.arrayBuffer());
  return Float32Array.from({ length: bytes.byteLength >> 2 }, (_, i) => bytes.getFloat32(4 * i, true));
}

/**
 * Words and numbers in one answer: the length of a JSON text, the text, float32 values; all little-endian.
 * @param {string} url @returns {Promise<any>} the JSON with the numbers as `values`
 */
export async function packed(url) {
  const response = await get(url);
  const bytes = new DataView(await response.arrayBuffer());
  const length = bytes.getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes.buffer, 4, length)));
  const first = 4 + length;
  const values = Float32Array.from({ length: (bytes.byteLength - first) >> 2 }, (_, i) =>
    bytes.getFloat32(first + 4 * i, true),
  );
  return { ...about, values };
}

/** @type {(url: string) => Promise<Response>} */
let transport = (url) => fetch(url, { credentials: 'same-origin' });

/** Let `other` answer requests instead of the server. @param {(url: string) => Promise<Response>} other */
export function answerWith(other) {
  transport = other;
}

/** @param {string} url */
async function get(url) {
  const response = await transport(url).catch(() => {
    throw new ApiError({
      error: 'TensorBoard does not answer',
      hint: 'Is it still running? Start it again, then retry.',
    });
  });
  if (!response.ok) throw new ApiError(await faultOf(response));
  return response;
}

/** @param {Response} response @returns {Promise<ApiFault>} */
async function faultOf(response) {
  const fallback = { error: `TensorBoard answered with status ${response.status}`, hint: 'Its terminal says more.' };
  try {
    const { error, hint } = await response.json();
    return typeof error === 'string' ? { error, hint: typeof hint === 'string' ? hint : '' } : fallback;
  } catch {
    return fallback;
  }
}

/** Runs that one request asks for, at most, so that its address stays short. */
const MOST_RUNS = 40;

/** Requests for what several runs are asked for at once: TensorBoard answers one sooner than one for each run. */
export class Together {
  constructor() {
    /** What is asked for in this turn, by address without the runs. @type {Map<string, {runs: string[], answers: Promise<any[]>}>} */
    this._asked = new Map();
  }

  /**
   * What `route` says of `run`.
   * @param {string} route @param {string} run @param {Record<string, string>} query @returns {Promise<any>}
   */
  async ask(route, run, query) {
    const key = address(route, query);
    const known = this._asked.get(key);
    const asked = known && known.runs.length < MOST_RUNS ? known : this._begin(key, route, query);
    const place = asked.runs.push(run) - 1;
    const answer = (await asked.answers)[place];
    if (typeof answer.error === 'string') throw new ApiError(answer);
    return answer;
  }

  /** @param {string} key @param {string} route @param {Record<string, string>} query */
  _begin(key, route, query) {
    /** @type {string[]} */
    const runs = [];
    const answers = Promise.resolve().then(async () => {
      this._asked.delete(key);
      const answer = await json(address(route, { run: runs, ...query }));
      return runs.length === 1 ? [answer] : answer.answers;
    });
    const asked = { runs, answers };
    this._asked.set(key, asked);
    return asked;
  }
}
