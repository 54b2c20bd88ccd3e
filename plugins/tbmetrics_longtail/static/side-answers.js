// @ts-check
/** One kind of answer for A and for B, the last ones staying until newer ones are there. */

import { Latest } from './resources.js';

/** @import { Resource, RunView, View } from './types.js' */

/**
 * @template T
 * @typedef {{letter: 'A' | 'B', run: RunView, resource: Resource<T>}} SideAnswer
 */

/** @template T */
export class SideAnswers {
  constructor() {
    this._latest = {
      A: /** @type {Latest<T>} */ (new Latest()),
      B: /** @type {Latest<T>} */ (new Latest()),
    };
  }

  /**
   * Of the compared runs that have a step to show and, where `kind` is named, a table of that kind.
   * @param {View} view @param {string | null} kind @param {(run: RunView) => Resource<T>} ask
   * @param {string} [scope] what an answer belongs to: of another scope none stays
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
