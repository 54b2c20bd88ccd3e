// @ts-check
/** Create HTML and SVG elements. Text becomes text nodes; nothing here parses markup. */

import { markerPath } from '../model/scale.js';

/** @import { Group, Marker, RunStyle } from '../model/types.js' */

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes */

const SVG = 'http://www.w3.org/2000/svg';

/** The host's palette has this many colours. */
export const HOST_COLORS = 7;

/** As in the figures. @type {Readonly<Record<string, Marker>>} */
export const GROUP_MARKERS = Object.freeze({ head: 'circle', medium: 'square', tail: 'triangle', unknown: 'cross' });

/**
 * An HTML element. Attributes named `on…` are listeners; true sets an empty attribute; null, undefined and false none.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] @param {...Child} children @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  append(element, children);
  return element;
}

/** The size of a chart, in pixels of the page. @param {Element} chart @param {number} width @param {number} height */
export function setSize(chart, width, height) {
  const box = `0 0 ${width} ${height}`;
  if (chart.getAttribute('viewBox') === box) return; // set again, the browser would lay out all of the chart
  chart.setAttribute('viewBox', box);
  chart.setAttribute('width', String(width));
  chart.setAttribute('height', String(height));
}

/**
 * An SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] @param {...Child} children @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  append(element, children);
  return element;
}

/** @param {Element} element @param {Attributes} attributes */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
}

/** @param {Element} element @param {Child[]} children */
function append(element, children) {
  for (const child of children) if (child) element.append(child);
}

/** Write `text` unless it stands there: written again, the browser would lay it out. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace the content of `element`. @param {Element} element @param {...Child} children */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

const LONG = 20;
const END = 9;
/** Text that may be cut anywhere: letters are neither joined nor written from the right. */
const SEPARABLE = /^[\x20-\x7e\u00a1-\u024f]*$/;

/**
 * An untrusted name: direction isolated, cut by CSS in the middle, complete in its title.
 * @param {string} text
 */
export function nameOf(text) {
  if (text.length < LONG || !SEPARABLE.test(text))
    return el('bdi', { class: 'name', dir: 'auto', title: text }, text || '(empty name)');
  const parts = [text.slice(0, -END), text.slice(-END)];
  return el('bdi', { class: 'name long', title: text }, ...parts.map((part) => el('span', {}, part)));
}

/** The colour of a run, as an attribute that the style sheet knows. @param {RunStyle} style */
export function runColor(style) {
  return { 'data-color': style.index % HOST_COLORS };
}

/** A run's line as it looks in the charts. @param {RunStyle} style */
export function runSwatch(style) {
  return svg(
    'svg',
    { class: 'swatch', width: 28, height: 12, viewBox: '0 0 28 12', 'aria-hidden': 'true', ...runColor(style) },
    svg('line', { x1: 1, x2: 27, y1: 6, y2: 6, class: 'run-line', 'stroke-dasharray': style.dash || null }),
    svg('path', { d: markerPath(style.marker, 14, 6, 3.4), class: 'run-marker' }),
  );
}

/** A group's shape in its colour; null for all classes and the gap. @param {string} group */
export function groupMarker(group) {
  const marker = GROUP_MARKERS[group];
  if (!marker) return null;
  return svg(
    'svg',
    { width: 12, height: 12, viewBox: '0 0 12 12', 'aria-hidden': 'true', 'data-group': group },
    svg('path', { class: 'group-marker', d: markerPath(marker, 6, 6, 4) }),
  );
}

/** A group's shape and word. @param {string} group @param {string} [word] */
export function groupBadge(group, word = group) {
  return el('span', { class: 'group-badge', 'data-group': group }, groupMarker(group), word);
}

/** The letter of a compared run. @param {'A' | 'B'} letter */
export function sideBadge(letter) {
  return el('span', { class: `side side-${letter.toLowerCase()}` }, letter);
}

/**
 * Set the options of a select, rebuilt only when they change, and choose `value`. Options with a `heading` come below it.
 * @param {HTMLSelectElement} select
 * @param {readonly {value: string, label: string, title?: string, heading?: string}[]} options @param {string} value
 */
export function setOptions(select, options, value) {
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    const option = (/** @type {typeof options[number]} */ o) =>
      el('option', { value: o.value, title: o.title ?? o.label, dir: 'auto' }, o.label);
    const headings = [...new Set(options.flatMap((o) => o.heading ?? []))];
    fill(
      select,
      ...options.filter((o) => !o.heading).map(option),
      ...headings.map((label) => el('optgroup', { label }, ...options.filter((o) => o.heading === label).map(option))),
    );
  }
  select.value = value;
}

/** @type {Readonly<Record<string, (place: number, n: number) => number>>} */
const MOVES = Object.freeze({
  ArrowDown: (place, n) => Math.min(place + 1, n - 1),
  ArrowUp: (place) => Math.max(place - 1, 0),
  Home: () => 0,
  End: (_, n) => n - 1,
});

/**
 * Make a list one stop of the Tab key: the arrow keys, Home and End go from item to item.
 * @template {HTMLElement} T
 * @param {T} list @param {string} selector of its items @returns {T}
 */
export function oneTabStop(list, selector) {
  const items = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll(selector)]);
  const stopAt = (/** @type {EventTarget | null} */ current) => {
    for (const item of items()) item.tabIndex = item === current ? 0 : -1;
  };
  stopAt(items()[0]);
  list.addEventListener('focusin', (event) => stopAt(event.target));
  list.addEventListener('keydown', (event) => {
    const all = items();
    const place = all.findIndex((item) => item === event.target);
    if (place < 0 || !Object.hasOwn(MOVES, event.key)) return;
    event.preventDefault();
    all[MOVES[event.key](place, all.length)].focus();
  });
  return list;
}

/** @param {Group | string} group */
export function groupTitle(group) {
  return group === 'all' ? 'All classes' : group === 'gap' ? 'Gap' : group.charAt(0).toUpperCase() + group.slice(1);
}
