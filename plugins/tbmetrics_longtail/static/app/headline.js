// @ts-check
/** One sentence above the cards: what B gains or loses, from the same evidence as the verdicts. */

import { el, fill } from '../charts/dom.js';

/** @import { Data } from '../host/data.js' */
/** @import { View } from '../model/types.js' */

export class Headline {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    this.element = el('p', { class: 'headline', role: 'status', hidden: true });
  }

  /** @param {View} view */
  update(view) {
    if (view.moving) return;
    const text = this._text(view);
    if (text === undefined || text === this.element.textContent) return;
    this.element.hidden = !text;
    fill(this.element, text);
  }

  /** The sentence, nothing if there is none, undefined while it is on its way. @param {View} view */
  _text({ a, b, attribute, metric, means, grouping, experimentOf }) {
    if (!a || !b || a.step === null || b.step === null || !means.includes(metric)) return '';
    const { value, status } = this._data.compare(a, b, attribute, metric, grouping);
    if (!value) return status === 'loading' ? undefined : '';
    const alone = experimentOf && value.sentence ? ' Of these two seeds alone.' : '';
    return `${value.sentence ?? ''}${alone}`;
  }
}
