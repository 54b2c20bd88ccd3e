// @ts-check
/** Every attribute at a glance: head, medium, tail and their gap in A and B. */

import { Card } from './card.js';
import { el, fill, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { keyOf, partsOf, SideAnswers } from '../host/resources.js';
import { count, isDefined, metricText, number } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { SideAnswer } from '../host/resources.js' */
/** @import { OverviewAnswer, Table, View } from '../model/types.js' */

const GROUPS = /** @type {const} */ (['head', 'medium', 'tail', 'gap']);

/** @typedef {SideAnswer<OverviewAnswer>} Side */

export class OverviewCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'overview',
      title: 'All attributes',
      className: 'overview-card',
      page,
      table: () => this._table(),
      metric: 'metric',
    });
    this.element = this._card.element;
    /** @type {SideAnswers<OverviewAnswer>} */
    this._answers = new SideAnswers();
    /** @type {Side[]} */
    this._sides = [];
  }

  /** @param {View} view */
  update(view) {
    this.element.hidden = view.attributes.length < 2;
    if (this.element.hidden) return;
    this._attributes = view.attributes;
    this._sides = this._answers.of(view, null, (run) => this._page.data.overview(run, view.metric), view.metric);
    const label = metricText(view.metric).label;
    this._card.caption(
      `${label} of every attribute at its last validation up to the chosen step, by the groups recorded with the run. Choose one to look into it.`,
    );
    if (!this._card.ready(partsOf(this._sides))) return;
    const key = JSON.stringify([view.attribute, view.metric, keyOf(this._sides)]);
    if (!this._card.isNew(key)) return;
    const focused = /** @type {HTMLElement | null} */ (this._card.body.querySelector(':focus'))?.dataset.attribute;
    fill(
      this._card.body,
      el(
        'div',
        { class: 'table-scroll plain', tabindex: 0, role: 'region', 'aria-label': 'All attributes, scrollable' },
        this._grid(view),
      ),
    );
    if (focused !== undefined)
      /** @type {HTMLElement | undefined} */ (
        [...this._card.body.querySelectorAll('button')].find((b) => b.dataset.attribute === focused)
      )?.focus();
  }

  /** @param {View} view */
  _grid(view) {
    const sides = this._sides;
    return el(
      'table',
      { class: 'overview' },
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          el('th', { scope: 'col', rowspan: 2 }, 'Attribute'),
          ...GROUPS.map((g) =>
            el('th', { scope: 'colgroup', colspan: sides.length }, g === 'gap' ? 'gap' : groupBadge(g)),
          ),
        ),
        el(
          'tr',
          {},
          ...GROUPS.flatMap(() =>
            sides.map(({ letter }) => el('th', { scope: 'col', class: 'number' }, sideBadge(letter))),
          ),
        ),
      ),
      el('tbody', {}, ...view.attributes.map((attribute) => this._row(attribute, view))),
    );
  }

  /** @param {string} attribute @param {View} view */
  _row(attribute, view) {
    const here = attribute === view.attribute;
    const values = this._sides.map(({ resource }) => resource.value?.attributes.find((a) => a.attribute === attribute));
    const open = () => this._page.set({ attribute, step: null, open: null, brush: null });
    return el(
      'tr',
      { class: here ? 'open' : '' },
      el(
        'th',
        { scope: 'row' },
        el(
          'button',
          {
            type: 'button',
            class: 'class-link',
            'data-attribute': attribute,
            'aria-current': here ? 'true' : null,
            onclick: open,
          },
          nameOf(attribute),
        ),
      ),
      ...GROUPS.flatMap((group) =>
        values.map((value) => el('td', { class: 'number' }, number(value?.groups[group]), coveredBy(value, group))),
      ),
    );
  }

  /** @returns {Table} */
  _table() {
    const counted = GROUPS.filter((group) => group !== 'gap');
    const rows = this._sides.flatMap(({ letter, run, resource }) =>
      (resource.value?.attributes ?? []).map(({ attribute, step, groups, n_classes }) => [
        letter,
        run.run,
        attribute,
        step,
        ...GROUPS.map((g) => groups[g] ?? null),
        ...counted.map((g) => n_classes?.[g] ?? null),
      ]),
    );
    return {
      columns: ['side', 'run', 'attribute', 'step', ...GROUPS, ...counted.map((g) => `${g}_n_classes`)],
      rows,
    };
  }
}

/**
 * How many classes of its group a mean covers, where it is not all.
 * @param {OverviewAnswer['attributes'][number] | undefined} value @param {typeof GROUPS[number]} group
 */
function coveredBy(value, group) {
  const [covered, size] = [value?.n_classes?.[group], value?.sizes?.[group]];
  if (group === 'gap' || !isDefined(covered) || !isDefined(size) || covered === size) return '';
  return el('span', { class: 'interval' }, ` ${count(covered)} of ${count(size)}`);
}
