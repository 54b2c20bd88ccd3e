// @ts-check
/** The module that TensorBoard loads into the tab's frame. */

import { App } from './app/app.js';
import { el } from './charts/dom.js';
import { followTheme, takeFocus } from './host/tensorboard.js';

/** Called by TensorBoard once the frame is there. */
export function render() {
  document.documentElement.lang = 'en';
  document.title = 'Long Tail';
  followTheme();
  const root = el('div', { id: 'longtail' });
  const style = el('link', { rel: 'stylesheet', href: new URL('./style.css', import.meta.url).href });
  // Widths are measured when drawing: so not before the style sheet is there.
  document.head.append(style);
  const app = new App(root);
  style.addEventListener('load', () => app.start(), { once: true });
  style.addEventListener('error', () => app.start(), { once: true });
  document.body.append(root);
  takeFocus();
}
