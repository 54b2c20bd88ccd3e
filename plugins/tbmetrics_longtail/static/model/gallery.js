// @ts-check
/** The images of a class, by what was predicted. */

/** @import { Group, Maybe } from './types.js' */

/**
 * @typedef {object} GalleryAnswer
 * @property {string} class
 * @property {Group} group the one recorded with the run
 * @property {{kind: string, step: number}[]} sheets
 * @property {{step: number, n_stored: number, images: ClassImage[]} | null} images of the class; null = not recorded
 */

/**
 * @typedef {object} ClassImage one of the sheet with images of every class
 * @property {string | null} label the true class; multi-label: null where the class in question is no label
 * @property {string | null} predicted
 * @property {Maybe} probability
 * @property {number[]} place left, top, width and height in the sheet
 */

/** @typedef {{label: string | null, predicted: string | null}} Pair */

/** Heading, and which of the images of a class. @type {readonly [string, (image: Pair, name: string) => boolean][]} */
export const PARTS = Object.freeze([
  ['mistaken', ({ label, predicted }, name) => label === name && predicted !== name],
  ['right', ({ label, predicted }, name) => label === name && predicted === name],
  ['wrongly predicted as it', ({ label, predicted }, name) => label !== name && predicted === name],
]);
