// @ts-check
/** Below the sentence: the hyperparameters in which A and B differ. */

import { el, fill, nameOf, sideBadge } from '../charts/dom.js';
import { plural } from '../model/format.js';
import { differingSettings } from '../model/settings.js';

/** @import { Data } from '../host/data.js' */
/** @import { View } from '../model/types.js' */

/** More are folded at first. */
const MOST_OPEN = 4;

export class PairSettings {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    this._summary = el('summary', {});
    this._list = el('ul', {});
    this.element = el('details', { class: 'pair-settings', hidden: true }, this._summary, this._list);
    this._key = '';
  }

  /** @param {View} view */
  update({ a, b }) {
    const [ofA, ofB] = [a, b].map((run) => run && this._data.settings(run));
    if (a && b && (ofA?.status === 'loading' || ofB?.status === 'loading')) return;
    const differing = differingSettings(ofA?.value?.settings ?? {}, ofB?.value?.settings ?? {});
    const key = JSON.stringify([a?.run, b?.run, differing]);
    if (key === this._key) return;
    this._key = key;
    this.element.hidden = !differing.length;
    this.element.open = differing.length <= MOST_OPEN;
    fill(
      this._summary,
      `${plural(differing.length, 'setting')} of A and B ${differing.length === 1 ? 'differs' : 'differ'}`,
    );
    fill(
      this._list,
      ...differing.map((setting) =>
        el('li', {}, nameOf(setting.name), sideBadge('A'), nameOf(setting.a), sideBadge('B'), nameOf(setting.b)),
      ),
    );
  }
}
