// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  borderSide,
  collapsed,
  evenly,
  gradientLine,
  inset,
  intersection,
  parseColor,
  parseGradient,
  radiiOf,
  ringShadows,
  round,
  roundedPath,
  splitTop,
  stopPlaces,
  tileOf,
  xmlText,
} from '../../../plugins/tbmetrics_longtail/static/charts/picture-shapes.js';

const BOX = { x: 10, y: 20, width: 100, height: 50 };
const SHARP = [0, 0, 0, 0].map(() => ({ rx: 0, ry: 0 }));

test('text keeps what XML can hold and nothing else', () => {
  const allowed = 'a\t\n\r<&>"\u00a0\u202e\ud83e\udda6\uFFFD';
  assert.equal(xmlText(allowed), allowed);
  assert.equal(xmlText('a\0\x01\b\x0b\x1f\uFFFE\uFFFFb'), 'ab');
  assert.equal(xmlText('\ud800x\udc00 \ud83e\udda6'), 'x \ud83e\udda6');
});

test('white space is collapsed as HTML does, unless it is no-break', () => {
  assert.equal(collapsed(' \n a \t b\u00a0 \r'), 'a b\u00a0');
});

test('colours are plain hexadecimals and an opacity', () => {
  assert.deepEqual(parseColor('rgb(11, 79, 148)'), { color: '#0b4f94', opacity: 1 });
  assert.deepEqual(parseColor('rgba(0, 0, 0, 0.5)'), { color: '#000000', opacity: 0.5 });
  assert.deepEqual(parseColor('rgb(255 0 0 / 25%)')?.color, '#ff0000');
  assert.deepEqual(parseColor('color(srgb 1 0.5 0 / 0.05)'), { color: '#ff8000', opacity: 0.05 });
  assert.deepEqual(parseColor('color(srgb 1.2 -0.1 none)'), { color: '#ff0000', opacity: 1 });
  for (const text of ['oklch(0.5 0.2 10)', 'color(display-p3 1 0 0)', 'none', '', 'url("#a")'])
    assert.equal(parseColor(text), null);
});

test('lists are cut outside brackets only', () => {
  assert.deepEqual(splitTop('rgb(1, 2, 3) 0px, red', ','), ['rgb(1, 2, 3) 0px', 'red']);
});

test('of shadows only sharp rings are kept', () => {
  assert.deepEqual(ringShadows('rgb(1, 2, 3) 0px 0px 0px 1.5px inset'), [
    { color: 'rgb(1, 2, 3)', spread: 1.5, inset: true },
  ]);
  assert.deepEqual(ringShadows('rgba(0, 0, 0, 0.2) 0px 1px 2px 0px, rgb(9, 9, 9) 0px 0px 0px 2px'), [
    { color: 'rgb(9, 9, 9)', spread: 2, inset: false },
  ]);
  assert.deepEqual(ringShadows('none'), []);
});

test('linear gradients are read, other images are not', () => {
  assert.deepEqual(parseGradient('linear-gradient(rgb(1, 2, 3), rgb(4, 5, 6) 20% 40%)'), {
    angle: 180,
    stops: [
      { color: 'rgb(1, 2, 3)', at: null },
      { color: 'rgb(4, 5, 6)', at: 0.2 },
      { color: 'rgb(4, 5, 6)', at: 0.4 },
    ],
  });
  assert.equal(parseGradient('linear-gradient(to right, red, blue)')?.angle, 90);
  assert.equal(parseGradient('linear-gradient(-45deg, red, blue)')?.angle, -45);
  for (const text of ['none', 'url("x.png")', 'radial-gradient(red, blue)']) assert.equal(parseGradient(text), null);
});

test('stops without a place lie evenly between the others', () => {
  const stops = [null, null, 0.5, null, null, 0.8].map((at) => ({ color: 'red', at }));
  assert.deepEqual(stopPlaces(stops).map(round), [0, 0.25, 0.5, 0.6, 0.7, 0.8]);
});

test('a gradient runs from edge to edge, at an angle from corner to corner', () => {
  assert.deepEqual(gradientLine(BOX, 180), { x1: 60, y1: 20, x2: 60, y2: 70 });
  assert.deepEqual(gradientLine(BOX, 90), { x1: 10, y1: 45, x2: 110, y2: 45 });
  // At 45 degrees in a square: from the bottom left to the top right.
  assert.deepEqual(gradientLine({ x: 0, y: 0, width: 10, height: 10 }, 45), { x1: 0, y1: 10, x2: 10, y2: 0 });
});

test('a background image lies where its size and position put it', () => {
  assert.deepEqual(tileOf(BOX, '1px 100%', '50% 50%'), { x: 59.5, y: 20, width: 1, height: 50 });
  assert.deepEqual(tileOf(BOX, 'auto', '0% 0%'), BOX);
  assert.deepEqual(tileOf(BOX, '50%', '100% 0px'), { x: 60, y: 20, width: 50, height: 50 });
});

test('radii that do not fit shrink together', () => {
  const all = (/** @type {string} */ text) => [text, text, text, text];
  assert.deepEqual(radiiOf(all('8px'), BOX)[0], { rx: 8, ry: 8 });
  assert.deepEqual(radiiOf(all('50%'), BOX)[2], { rx: 50, ry: 25 });
  assert.deepEqual(radiiOf(all('999px'), BOX)[3], { rx: 25, ry: 25 });
  assert.deepEqual(radiiOf(all('4px 2px'), BOX)[1], { rx: 4, ry: 2 });
});

test('boxes shrink and meet', () => {
  assert.deepEqual(inset(BOX, evenly(5)), { x: 15, y: 25, width: 90, height: 40 });
  assert.equal(inset(BOX, evenly(60)).width, 0);
  assert.deepEqual(intersection(BOX, { x: 0, y: 60, width: 20, height: 50 }), { x: 10, y: 60, width: 10, height: 10 });
  assert.equal(intersection(BOX, { x: 110, y: 20, width: 5, height: 5 }), null);
});

test('sides of a border meet on the lines between the corners', () => {
  const widths = { top: 3, right: 1, bottom: 1, left: 0 };
  assert.equal(borderSide(BOX, SHARP, widths, 'top'), 'M10 20L110 20L109 23L10 23Z');
  assert.equal(borderSide(BOX, SHARP, widths, 'right'), 'M110 20L110 70L109 69L109 23Z');
});

/** The ends of the segments of a path of M, L, A and Z. @param {string} path */
function cornersOf(path) {
  return path
    .split(/(?=[MLAZ])/)
    .flatMap((part) => (part === 'Z' ? [] : [part.slice(1).split(' ').slice(-2).map(Number)]));
}

test('the cuts through a rounded corner lie on both of its arcs', () => {
  const widths = { top: 3, right: 1, bottom: 1, left: 1 };
  const radii = [6, 6, 6, 6].map((r) => ({ rx: r, ry: r }));
  const found = cornersOf(borderSide(BOX, radii, widths, 'top'));
  const [first, last] = [found[0], found[found.length - 1]];
  const onArc = (/** @type {number[]} */ [x, y], /** @type {number} */ rx, /** @type {number} */ ry) =>
    ((x - 16) / rx) ** 2 + ((y - 26) / ry) ** 2;
  assert.ok(Math.abs(onArc(first, 6, 6) - 1) < 0.01);
  assert.ok(Math.abs(onArc(last, 5, 3) - 1) < 0.01);
  // Both on the line from the outer corner (10, 20) to the inner one (11, 23).
  for (const [x, y] of [first, last]) assert.ok(Math.abs((y - 20) / (x - 10) - 3) < 0.05);
  // The next side begins where this one ends.
  const right = cornersOf(borderSide(BOX, radii, widths, 'right'));
  assert.deepEqual(
    right[0],
    found.find(([x, y]) => x === right[0][0] && y === right[0][1]),
  );
});

test('a box of different corners is one closed path', () => {
  const radii = [4, 0, 0, 4].map((r) => ({ rx: r, ry: r }));
  assert.equal(roundedPath(BOX, radii), 'M10 24A4 4 0 0 1 14 20L110 20L110 70L14 70A4 4 0 0 1 10 66Z');
});
