// @ts-check
/** What has been fetched: one entry per address; an old value stays until its newer one has arrived. */

/** @import { RunView, View } from '../model/types.js' */

/** @typedef {{name: string, resource: Resource<unknown>}} Part what a card waits for, and whose it is */

/**
 * @template T
 * @typedef {object} Resource
 * @property {'loading' | 'ready' | 'error'} status 'ready' as soon as there is any value
 * @property {T | undefined} value the newest there is, possibly of before a reload
 * @property {boolean} stale a newer value is on its way
 * @property {ApiFault | null} fault why the newest attempt failed
 */

/**
 * @typedef {object} ApiFault
 * @property {string} error
 * @property {string} hint
 */

/**
 * @typedef {object} Entry
 * @property {string} version of the request last started
 * @property {boolean} busy
 * @property {unknown} value
 * @property {boolean} filled
 * @property {ApiFault | null} fault
 */

const MAX_ENTRIES = 300;

export class Resources {
  /** @param {() => void} changed called after every arrival */
  constructor(changed) {
    this._changed = changed;
    /** @type {Map<string, Entry>} */
    this._entries = new Map();
    this._round = 0;
  }

  /**
   * The resource at `url`, fetched if it is missing or was fetched for another `version`.
   * @template T
   * @param {string} url @param {string} version @param {(url: string) => Promise<T>} read @returns {Resource<T>}
   */
  get(url, version, read) {
    const wanted = `${this._round}|${version}`;
    const entry = this._touch(url);
    if (entry.version !== wanted) this._fetch(url, entry, wanted, read);
    return {
      status: entry.filled ? 'ready' : entry.fault ? 'error' : 'loading',
      value: /** @type {T | undefined} */ (entry.value),
      stale: entry.filled && (entry.busy || entry.fault !== null),
      fault: entry.fault,
    };
  }

  /** Fetch everything again when next asked for. */
  refreshAll() {
    this._round += 1;
  }

  /** Fetch what failed again when next asked for. */
  retryFailed() {
    for (const entry of this._entries.values()) if (entry.fault) entry.version = '';
  }

  /** @param {string} url @returns {Entry} */
  _touch(url) {
    const entry = this._entries.get(url) ?? { version: '', busy: false, value: undefined, filled: false, fault: null };
    this._entries.delete(url);
    this._entries.set(url, entry);
    if (this._entries.size > MAX_ENTRIES)
      this._entries.delete(/** @type {string} */ (this._entries.keys().next().value));
    return entry;
  }

  /**
   * @param {string} url @param {Entry} entry @param {string} version @param {(url: string) => Promise<unknown>} read
   */
  async _fetch(url, entry, version, read) {
    entry.version = version;
    entry.busy = true;
    /** @type {Partial<Entry>} */
    let outcome;
    try {
      outcome = { value: await read(url), filled: true, fault: null };
    } catch (error) {
      outcome = { fault: { error: error instanceof Error ? error.message : String(error), hint: hintOf(error) } };
    }
    if (entry.version !== version) return; // a newer request is under way
    Object.assign(entry, outcome, { busy: false });
    this._changed();
  }
}

/** @param {unknown} error */
function hintOf(error) {
  return error instanceof Error && 'hint' in error ? String(error.hint) : '';
}

/**
 * The last value shown in one place of the page, kept while a new step or metric loads.
 * @template T
 */
export class Latest {
  constructor() {
    /** @type {T | undefined} */
    this._value = undefined;
    this._scope = '';
  }

  /**
   * `resource`, or its previous value marked stale while it loads; forgotten when `scope` changes.
   * @param {Resource<T>} resource @param {string} scope @returns {Resource<T>}
   */
  take(resource, scope) {
    if (scope !== this._scope) this._value = undefined;
    this._scope = scope;
    if (resource.status === 'ready') this._value = resource.value;
    if (resource.status !== 'loading' || this._value === undefined) return resource;
    return { status: 'ready', value: this._value, stale: true, fault: null };
  }
}

/**
 * @template T
 * @typedef {{letter: 'A' | 'B', run: RunView, resource: Resource<T>}} SideAnswer
 */

/**
 * One kind of answer for A and for B; the last ones are kept until newer ones arrive.
 * @template T
 */
export class SideAnswers {
  constructor() {
    this._latest = {
      A: /** @type {Latest<T>} */ (new Latest()),
      B: /** @type {Latest<T>} */ (new Latest()),
    };
  }

  /**
   * Answers for the compared runs that have a step and, if `kind` is given, a table of that kind.
   * @param {View} view @param {string | null} kind @param {(run: RunView) => Resource<T>} ask
   * @param {string} [scope] answers of another scope are forgotten
   * @returns {SideAnswer<T>[]}
   */
  of(view, kind, ask, scope = view.attribute) {
    return /** @type {const} */ (['A', 'B']).flatMap((letter) => {
      const run = letter === 'A' ? view.a : view.b;
      if (!run || run.step === null || (kind && !run.info.kinds.includes(kind))) return [];
      return [{ letter, run, resource: this._latest[letter].take(ask(run), `${run.run}\n${scope}`) }];
    });
  }
}

/** What a card waits for. @param {readonly SideAnswer<unknown>[]} sides */
export function partsOf(sides) {
  return sides.map(({ run, resource }) => ({ name: run.run, resource }));
}

/** Changes when one of the answers may have. @param {readonly SideAnswer<unknown>[]} sides */
export function keyOf(sides) {
  return sides
    .map(({ run, resource }) => `${run.run}|${run.step}|${run.version}|${resource.status}|${resource.stale}`)
    .join('\n');
}
