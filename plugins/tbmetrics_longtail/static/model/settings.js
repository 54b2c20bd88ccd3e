// @ts-check
/** Hyperparameters in which two runs differ. */

import { settingText } from './board.js';

/** @import { Setting } from './board.js' */

/** @typedef {Record<string, Setting>} Settings */
/** @typedef {{settings: Settings}} SettingsAnswer */

/**
 * The settings that are not equal, as text; none if a run has no settings at all.
 * @param {Settings} a @param {Settings} b
 */
export function differingSettings(a, b) {
  if (!Object.keys(a).length || !Object.keys(b).length) return [];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  const own = (/** @type {Settings} */ settings, /** @type {string} */ name) =>
    Object.hasOwn(settings, name) ? settings[name] : undefined;
  return names
    .filter((name) => own(a, name) !== own(b, name))
    .map((name) => ({ name, a: settingText(own(a, name)), b: settingText(own(b, name)) }));
}
