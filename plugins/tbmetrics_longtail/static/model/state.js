// @ts-check
/** The user's choices: their defaults, and how they are written in the address bar. */

/** @import { Maybe } from './types.js' */

/** @typedef {'a' | 'b' | 'difference'} SideKey */
/** @typedef {'name' | 'group' | 'count' | 'support' | SideKey | `${SideKey}:${string}`} SortKey of a further metric after ":" */

/**
 * @typedef {object} State what the user has chosen; null = automatic
 * @property {string | null} attribute
 * @property {string | null} metric
 * @property {number | null} step the chosen step; null = by `pick`
 * @property {'last' | 'best' | null} pick of each run; null = the last step that A and B have
 * @property {string | null} a
 * @property {string | null} b an empty string = none
 * @property {string[] | null} shown the ticked runs
 * @property {string} filter regular expression over run names
 * @property {string} search text in class names
 * @property {string[]} groups groups left out of the table
 * @property {string[]} columns further metrics in the table
 * @property {SortKey} sort
 * @property {boolean} descending
 * @property {string | null} open the class in the drawer
 * @property {string | null} rule of the groups; null = as recorded
 * @property {Maybe} head with the rule "custom": head from so many training examples on
 * @property {Maybe} tail with the rule "custom": tail up to so many
 * @property {string} seeds regular expression over run names: what tells the seeds of one experiment apart
 * @property {[number, number] | null} brush frequency ranks chosen, first and last
 * @property {string} pairs group whose mistakes are listed, an empty string = all
 * @property {string | null} full the card shown in full size
 */

/** @type {Readonly<State>} */
export const INITIAL = Object.freeze({
  attribute: null,
  metric: null,
  step: null,
  pick: null,
  a: null,
  b: null,
  shown: null,
  filter: '',
  search: '',
  groups: [],
  columns: [],
  sort: 'count',
  descending: true,
  open: null,
  rule: null,
  head: null,
  tail: null,
  seeds: '',
  brush: null,
  pairs: '',
  full: null,
});

/** Choices remembered for new windows; none of them refers to particular runs. */
export const HABITS = Object.freeze(/** @type {const} */ (['metric', 'sort', 'rule', 'head', 'tail', 'seeds']));

/** @type {readonly SortKey[]} */
const SORT_KEYS = ['name', 'group', 'count', 'support', 'a', 'b', 'difference'];
const GROUPS = ['head', 'medium', 'tail', 'unknown'];
const PICKS = /** @type {const} */ (['last', 'best']);
/** Further metrics in the table, at most. */
export const MOST_COLUMNS = 2;
const RULES = ['decoupling', 'oltr', 'dbl', 'lvis', 'terciles', 'custom'];

/**
 * State as texts by key, without defaults.
 * @param {State} state @returns {Record<string, string>}
 */
export function toTexts(state) {
  /** @type {Record<string, string>} */
  const texts = {};
  for (const key of /** @type {const} */ (['attribute', 'metric', 'pick', 'a', 'b', 'open', 'rule', 'full'])) {
    const value = state[key];
    if (value !== null) texts[key] = value;
  }
  for (const key of /** @type {const} */ (['step', 'head', 'tail'])) {
    const value = state[key];
    if (value !== null) texts[key] = String(value);
  }
  if (state.seeds) texts.seeds = state.seeds;
  if (state.pairs) texts.pairs = state.pairs;
  if (state.brush) texts.ranks = state.brush.join('-');
  if (state.shown !== null) texts.shown = JSON.stringify(state.shown);
  if (state.filter) texts.filter = state.filter;
  if (state.search) texts.search = state.search;
  if (state.columns.length) texts.columns = JSON.stringify(state.columns);
  if (state.groups.length) texts.without = state.groups.join(',');
  if (state.sort !== INITIAL.sort || state.descending !== INITIAL.descending) {
    texts.sort = `${state.sort}${state.descending ? '-desc' : '-asc'}`;
  }
  return texts;
}

/**
 * Inverse of `toTexts`; unreadable values become defaults.
 * @param {Readonly<Record<string, string | undefined>>} texts @returns {State}
 */
export function fromTexts(texts) {
  const [, sort, order] = /^(.+)-(asc|desc)$/.exec(texts.sort ?? '') ?? [];
  const isFurther = /^(a|b|difference):./.test(sort ?? '');
  const key = isFurther ? /** @type {SortKey} */ (sort) : SORT_KEYS.find((known) => known === sort);
  return {
    attribute: texts.attribute ?? null,
    metric: texts.metric ?? null,
    step: whole(texts.step),
    pick: PICKS.find((known) => known === texts.pick) ?? null,
    a: texts.a ?? null,
    b: texts.b ?? null,
    shown: strings(texts.shown),
    filter: texts.filter ?? '',
    search: texts.search ?? '',
    columns: (strings(texts.columns) ?? []).slice(0, MOST_COLUMNS),
    groups: (texts.without ?? '').split(',').filter((group) => GROUPS.includes(group)),
    sort: key ?? INITIAL.sort,
    descending: key ? order === 'desc' : INITIAL.descending,
    open: texts.open ?? null,
    rule: RULES.includes(texts.rule ?? '') ? (texts.rule ?? null) : null,
    head: whole(texts.head),
    tail: whole(texts.tail),
    seeds: texts.seeds ?? '',
    brush: ranks(texts.ranks),
    pairs: GROUPS.includes(texts.pairs ?? '') ? (texts.pairs ?? '') : '',
    full: /^[a-z]{1,20}$/.test(texts.full ?? '') ? (texts.full ?? null) : null,
  };
}

/** @param {string | undefined} text @returns {number | null} */
function whole(text) {
  return /^-?\d{1,15}$/.test(text ?? '') ? Number(text) : null;
}

/** @param {string | undefined} text @returns {[number, number] | null} */
function ranks(text) {
  const range = /^(\d{1,9})-(\d{1,9})$/.exec(text ?? '');
  return range && Number(range[1]) <= Number(range[2]) ? [Number(range[1]), Number(range[2])] : null;
}

/** @param {string | undefined} json @returns {string[] | null} */
function strings(json) {
  try {
    const value = JSON.parse(json ?? 'null');
    return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : null;
  } catch {
    return null;
  }
}

/**
 * The parameters of a hash such as `#longtail&p.longtail.metric=f1` that begin with `prefix`, without it.
 * @param {string} hash @param {string} prefix @returns {Record<string, string>}
 */
export function readHash(hash, prefix) {
  /** @type {Record<string, string>} */
  const texts = {};
  for (const [key, value] of pairs(hash)) {
    if (key.startsWith(prefix)) texts[key.slice(prefix.length)] = value;
  }
  return texts;
}

/**
 * `hash` with `texts` in place of the parameters that begin with `prefix`; everything else stays as it is.
 * @param {string} hash @param {string} prefix @param {Readonly<Record<string, string>>} texts
 */
export function writeHash(hash, prefix, texts) {
  const others = hash
    .replace(/^#/, '')
    .split('&')
    .filter((part) => part && !decoded(part).startsWith(prefix));
  const ours = Object.entries(texts).map(
    ([key, value]) => `${prefix}${encodeURIComponent(key)}=${encodeURIComponent(value)}`,
  );
  return `#${[...others, ...ours].join('&')}`;
}

/** @param {string} hash @returns {[string, string][]} */
function pairs(hash) {
  return hash
    .replace(/^#/, '')
    .split('&')
    .filter((part) => part.includes('='))
    .map((part) => [decoded(part.slice(0, part.indexOf('='))), decoded(part.slice(part.indexOf('=') + 1))]);
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
