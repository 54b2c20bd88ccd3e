// @ts-check
/** TensorBoard around the tab: its dark mode, its address bar, its reloads. Everything works without it too. */

import { fromTexts, HABITS, readHash, toTexts, writeHash } from '../model/state.js';

/** @import { State } from '../model/state.js' */

const PREFIX = 'p.longtail.'; // TensorBoard keeps what begins with `p.` and a plugin's name
const MARK = 'v';
const CARD = 'card';
const STATE_KEY = 'tbmetrics.longtail.state';
const HABITS_KEY = 'tbmetrics.longtail.habits';
const RELOADED = 'experimental.DataReloaded';

/** TensorBoard's window, or our own if the module was opened alone. */
function hostWindow() {
  try {
    return window.parent.document.body ? window.parent : window;
  } catch {
    return window;
  }
}

/** Follow the host's dark mode, or the system's if the host is not accessible. */
export function followTheme() {
  const host = hostWindow();
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const isDark = host === window ? dark.matches : host.document.body.classList.contains('dark-mode');
    document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  };
  apply();
  if (host === window) dark.addEventListener('change', apply);
  else new MutationObserver(apply).observe(host.document.body, { attributes: true, attributeFilter: ['class'] });
}

/** The state in the host's address bar, otherwise the remembered one. @returns {State} */
export function loadState() {
  const texts = readHash(hostWindow().location.hash, PREFIX);
  return fromTexts(
    Object.keys(texts).length ? texts : { ...stored(localStore, HABITS_KEY), ...stored(sessionStore, STATE_KEY) },
  );
}

/**
 * Write the state to the host's address bar, as a new step of its history or in place of the last, and remember it.
 * @param {State} state @param {boolean} [push]
 */
export function saveState(state, push = false) {
  const texts = toTexts(state);
  const host = hostWindow();
  // The mark tells an address of ours at its defaults from one that TensorBoard made.
  const hash = writeHash(host.location.hash, PREFIX, { ...texts, [MARK]: '1' });
  try {
    if (hash !== host.location.hash) host.history[push ? 'pushState' : 'replaceState'](host.history.state, '', hash);
  } catch {
    // Too many changes a second for this browser: the next one will do.
  }
  remember(sessionStore, STATE_KEY, texts);
  remember(
    localStore,
    HABITS_KEY,
    Object.fromEntries(HABITS.flatMap((key) => (texts[key] ? [[key, texts[key]]] : []))),
  );
}

/** Whether there is an address to copy; a frame in a file has none. */
export function hasAddress() {
  return hostWindow().location.protocol !== 'about:';
}

/** The address of this state, scrolled to a card. @param {State} state @param {string} card */
export function linkTo(state, card) {
  const url = new URL(hostWindow().location.href);
  url.hash = writeHash(url.hash, PREFIX, { ...toTexts(state), [MARK]: '1', [CARD]: card });
  return url.href;
}

/** The card that the address points to. */
export function linkedCard() {
  return readHash(hostWindow().location.hash, PREFIX)[CARD] ?? null;
}

/**
 * Calls `navigated` with the state of the address whenever the browser goes back or forward to one of ours.
 * @param {(state: State) => void} navigated
 */
export function onNavigated(navigated) {
  const host = hostWindow();
  const follow = () => {
    const texts = readHash(host.location.hash, PREFIX);
    if (texts[MARK]) navigated(fromTexts(texts));
  };
  host.addEventListener('popstate', follow);
  window.addEventListener('pagehide', () => host.removeEventListener('popstate', follow));
}

const localStore = () => window.localStorage;
const sessionStore = () => window.sessionStorage;

/** @param {() => Storage} store @param {string} key @returns {Record<string, string>} */
function stored(store, key) {
  try {
    const texts = JSON.parse(store().getItem(key) ?? '{}');
    return texts && typeof texts === 'object' ? texts : {};
  } catch {
    return {};
  }
}

/** @param {() => Storage} store @param {string} key @param {Record<string, string>} texts */
function remember(store, key, texts) {
  try {
    store().setItem(key, JSON.stringify(texts));
  } catch {
    // Storage is off or full: the address bar has it.
  }
}

/**
 * Calls `reloaded` whenever TensorBoard has reloaded its data: through the channel that it offers to plugins.
 * @param {() => void} reloaded
 */
export function onHostReload(reloaded) {
  if (window.parent === window) return;
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = (event) => {
    const message = parsed(event.data);
    if (!message || message.isReply) return;
    port1.postMessage(
      JSON.stringify({ type: message.type, id: message.id, payload: null, error: null, isReply: true }),
    );
    if (message.type === RELOADED) reloaded();
  };
  window.parent.postMessage('experimental.bootstrap', '*', [port2]);
}

/** @param {unknown} data @returns {{type: string, id: number, isReply: boolean} | null} */
function parsed(data) {
  try {
    return JSON.parse(String(data));
  } catch {
    return null;
  }
}

/** Take the focus unless an element of the host has it, so that keys work without a click. */
export function takeFocus() {
  const focused = hostWindow().document.activeElement;
  if (!focused || focused === hostWindow().document.body || focused === ownFrame()) window.focus();
}

/** Whether anyone can see the tab: TensorBoard does not lay out the frames of its other tabs. */
export function isVisible() {
  const frame = ownFrame();
  return !document.hidden && (!frame || frame.getClientRects().length > 0);
}

/** Call `shown` whenever the tab may have become visible or changed its size. @param {() => void} shown */
export function onShown(shown) {
  document.addEventListener('visibilitychange', shown);
  new ResizeObserver(shown).observe(document.documentElement);
  const frame = ownFrame();
  // The host's own observer: ours would sleep while the frame is not laid out.
  if (frame)
    new /** @type {typeof globalThis} */ (/** @type {unknown} */ (hostWindow())).ResizeObserver(shown).observe(frame);
}

/** Our frame, or null if it is not accessible. */
function ownFrame() {
  try {
    return window.frameElement;
  } catch {
    return null;
  }
}
