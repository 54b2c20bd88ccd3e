// @ts-check
/** Runs of one experiment that differ in their random seed only: found by name, averaged, and compared. */

/** @import { Experiment, Maybe, Point, RunView } from './types.js' */

/** What most people append to a run's name. */
export const USUAL_PATTERN = '[-_/.]?(seed|s|run|rep)[-_=]?\\d+';

const MOST_ARRANGEMENTS = 200_000;

/**
 * A pattern as a function from a run's name to its experiment's, or why it is none. A capture group called `name`
 * is the experiment's name; without one it is what is left once the match is taken out.
 * @param {string} pattern @returns {{experimentOf: ((run: string) => string) | null, error: string | null}}
 */
export function seedPattern(pattern) {
  if (!pattern) return { experimentOf: null, error: null };
  try {
    const expression = new RegExp(pattern, 'iu');
    return {
      experimentOf: (run) => {
        const found = expression.exec(run);
        if (!found) return run;
        const rest = run.slice(0, found.index) + run.slice(found.index + found[0].length);
        return found.groups?.name ?? (rest || run);
      },
      error: null,
    };
  } catch {
    return { experimentOf: null, error: 'Not a regular expression; runs are shown one by one.' };
  }
}

/**
 * Runs by experiment, in the order of their first run, whose style they take.
 * @param {readonly RunView[]} runs @param {(run: string) => string} experimentOf @returns {Experiment[]}
 */
export function experimentsOf(runs, experimentOf) {
  /** @type {Map<string, Experiment>} */
  const found = new Map();
  for (const run of runs) {
    const label = experimentOf(run.run);
    const experiment = found.get(label) ?? { label, style: run.style, runs: [] };
    found.set(label, { ...experiment, runs: [...experiment.runs, run] });
  }
  return [...found.values()];
}

/** @param {readonly number[]} values */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Standard deviation between seeds (n − 1), null for fewer than two. @param {readonly number[]} values @returns {Maybe} */
export function deviation(values) {
  if (values.length < 2) return null;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/**
 * Mean over seeds at every step that any has, with mean ± standard deviation as its band; `n` = seeds there.
 * @param {readonly (readonly Point[])[]} lines @returns {Point[]}
 */
export function meanLine(lines) {
  /** @type {Map<number, number[]>} */
  const byStep = new Map();
  for (const line of lines) {
    for (const { x, y } of line) if (y !== null) byStep.set(x, [...(byStep.get(x) ?? []), y]);
  }
  return [...byStep]
    .sort(([p], [q]) => p - q)
    .map(([x, values]) => {
      const [y, spread] = [mean(values), deviation(values)];
      return {
        x,
        y,
        lower: spread === null ? null : y - spread,
        upper: spread === null ? null : y + spread,
        n: values.length,
      };
    });
}

/**
 * Exact two-sided permutation test: how often a difference of means at least this large arises when the same values
 * are dealt to A and B at random. Needs no assumption; with few seeds it cannot come out small.
 * @param {readonly number[]} a @param {readonly number[]} b
 * @returns {{p: number, least: number} | null} null where there are none, or too many to try
 */
export function permutationTest(a, b) {
  const all = [...a, ...b];
  const arrangements = choose(all.length, a.length);
  if (!a.length || !b.length || arrangements > MOST_ARRANGEMENTS) return null;
  const total = all.reduce((sum, value) => sum + value, 0);
  const distance = (/** @type {number} */ sum) => Math.abs((total - sum) / b.length - sum / a.length);
  const observed = distance(a.reduce((sum, value) => sum + value, 0)) - 1e-12;
  let extreme = 0;
  /** @param {number} from @param {number} left @param {number} sum */
  const deal = (from, left, sum) => {
    if (left === 0) extreme += Number(distance(sum) >= observed);
    else for (let i = from; i <= all.length - left; i += 1) deal(i + 1, left - 1, sum + all[i]);
  };
  deal(0, a.length, 0);
  return { p: extreme / arrangements, least: (a.length === b.length ? 2 : 1) / arrangements };
}

/** @param {number} n @param {number} k */
function choose(n, k) {
  let found = 1;
  for (let i = 1; i <= k; i += 1) found = (found * (n - k + i)) / i;
  return Math.round(found);
}
