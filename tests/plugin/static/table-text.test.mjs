// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  csvBlob,
  csvText,
  fileName,
  jsonBlob,
  jsonText,
  latexText,
  markdownText,
} from '../../../plugins/tbmetrics_longtail/static/model/table-text.js';

/** @param {string} text a CSV of RFC 4180, read by the letter @returns {string[][]} */
function readCsv(text) {
  const rows = [['']];
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const row = rows[rows.length - 1];
    if (quoted && text[i] === '"' && text[i + 1] === '"') row[row.length - 1] += text[(i += 1)];
    else if (text[i] === '"') quoted = !quoted;
    else if (quoted) row[row.length - 1] += text[i];
    else if (text[i] === ',') row.push('');
    else if (text.startsWith('\r\n', i)) {
      rows.push(['']);
      i += 1;
    } else row[row.length - 1] += text[i];
  }
  return rows.slice(0, -1);
}

test('a CSV has a byte order mark, a line for the columns, and CRLF after every line', () => {
  const text = csvText({
    columns: ['class', 'f1'],
    rows: [
      ['cat', 0.5],
      ['dog', null],
    ],
  });
  assert.equal(text, '\uFEFFclass,f1\r\ncat,0.5\r\ndog,\r\n');
});

test('what is written to a CSV is read back', () => {
  const names = ['a,b', 'say "hi"', 'two\nlines', 'two\r\nlines', ' space ', '', 'שלום', '🦦', "it's", '</script>'];
  const text = csvText({ columns: ['n"ame', 'value'], rows: names.map((name, i) => [name, i - 0.25]) });
  const [columns, ...rows] = readCsv(text.slice(1));
  assert.deepEqual(columns, ['n"ame', 'value']);
  assert.deepEqual(
    rows,
    names.map((name, i) => [name, String(i - 0.25)]),
  );
});

test('no text of a CSV is a formula, in the heading either; numbers stay numbers', () => {
  for (const first of ['=', '+', '-', '@', '\t', '\r', '\n', '＝']) {
    const name = `${first}HYPERLINK("x","y")`;
    const [[heading, ...left], [cell, number]] = readCsv(
      csvText({ columns: [name, 'n'], rows: [[name, -1.5e-7]] }).slice(1),
    );
    assert.equal(cell, `'${name}`);
    assert.equal(heading, `'${name}`);
    assert.deepEqual([left, Number(number)], [['n'], -1.5e-7]);
  }
  assert.equal(csvText({ columns: ['a=b'], rows: [['1-2']] }), '\uFEFFa=b\r\n1-2\r\n');
});

test('what is undefined is empty in a CSV and null in JSON', () => {
  const rows = [[null, NaN, Infinity, /** @type {any} */ (undefined)]];
  assert.equal(csvText({ columns: ['a', 'b', 'c', 'd'], rows }).split('\r\n')[1], ',,,');
  const read = JSON.parse(jsonText({ columns: ['a', 'b', 'c', 'd'], rows }, { step: NaN, run: undefined }));
  assert.deepEqual(read, {
    about: { step: null, run: null },
    columns: ['a', 'b', 'c', 'd'],
    rows: [[null, null, null, null]],
  });
});

test('a NUL, at which readers of CSV stop, is left out', () => {
  assert.equal(csvText({ columns: ['a\0b'], rows: [['\0=1']] }), "\uFEFFab\r\n'=1\r\n");
});

test('JSON has a row a line and keeps every name and number', () => {
  const table = {
    columns: ['class', 'f1'],
    rows: [
      ['a"\n\u2028\ud800', 0.1 + 0.2],
      ['=b', -0],
    ],
  };
  const text = jsonText(table, { attribute: 'digit', runs: ['x'] });
  assert.deepEqual(JSON.parse(text), {
    about: { attribute: 'digit', runs: ['x'] },
    columns: table.columns,
    rows: [
      ['a"\n\u2028\ud800', 0.1 + 0.2],
      ['=b', 0],
    ],
  });
  assert.equal(text.split('\n').filter((line) => line.startsWith('    [')).length, 2);
  assert.deepEqual(JSON.parse(jsonText({ columns: [], rows: [] }, {})), { about: {}, columns: [], rows: [] });
});

test('the files say what they are', async () => {
  const table = { columns: ['ü'], rows: [] };
  const csv = csvBlob(table);
  assert.equal(csv.type, 'text/csv;charset=utf-8');
  assert.deepEqual([...new Uint8Array(await csv.arrayBuffer())], [0xef, 0xbb, 0xbf, 0xc3, 0xbc, 13, 10]);
  assert.equal(jsonBlob(table, {}).type, 'application/json');
});

test('file names keep what is harmless', () => {
  assert.equal(fileName(['longtail', 'digit', 'F1 over training'], 'svg'), 'longtail-digit-F1-over-training.svg');
  assert.equal(fileName(['Café', 'lr=0.1_b'], '.png'), 'Cafe-lr-0.1_b.png');
});

test('file names of any parts are safe', () => {
  const hostile = [
    '../../etc/passwd',
    '..\\..\\boot.ini',
    'a/b\\c:d*e?f"g<h>i|j',
    'nul',
    'CON',
    'com1.txt',
    '.bashrc',
    '\u202egnp.exe',
    'שלום',
    '🦦',
    '\0\r\n',
    '',
    ' ',
    '-rf',
    '%2e%2e%2f',
    'x'.repeat(500),
    '\ud800',
  ];
  const lists = [...hostile.map((part) => [part]), hostile, hostile.map((p) => p.repeat(9)), []];
  for (const suffix of ['svg', '.csv', '', '/../x', 'y'.repeat(50)]) {
    for (const parts of lists) {
      const name = fileName(parts, suffix);
      assert.match(name, /^[A-Za-z0-9][A-Za-z0-9._-]*$/, name);
      assert.ok(name.length <= 120, name);
      assert.doesNotMatch(name, /\.\.|\.$|^(con|nul|com1)(\.|$)/i);
      if (suffix === 'svg') assert.ok(name.endsWith('.svg') && name.length > 4);
    }
  }
});

/** Names that would be markup, a command, or the end of a cell: as Markdown, as LaTeX. */
const MARKUP = [
  ['a|b', 'a\\|b', 'a\\textbar{}b'],
  ['`code`', '\\`code\\`', '\\textasciigrave{}code\\textasciigrave{}'],
  ['*x* _y_', '\\*x\\* \\_y\\_', '{*}x{*} \\_y\\_'],
  ['# - 1', '\\# - 1', '\\# - 1'],
  ['-rf', '\\-rf', '-rf'],
  ['+1', '\\+1', '+1'],
  ['--', '\\--', '-{}-'],
  ['<b>&amp;', '\\<b\\>\\&amp;', '\\textless{}b\\textgreater{}\\&amp;'],
  ['![i](https://x)', '\\!\\[i\\](https\\://x)', '!{[}i](https://x)'],
  ['www.x @y', 'www\\.x \\@y', 'www.x @y'],
  ['50 % $5 {~^}', '50 % \\$5 \\{\\~\\^\\}', '50 \\% \\$5 \\{\\textasciitilde{}\\textasciicircum{}\\}'],
  ['\\input{x}', '\\\\input\\{x\\}', '\\textbackslash{}input\\{x\\}'],
  ['"q"', '"q"', '\\symbol{34}q\\symbol{34}'],
  ['two\r\nlines\u2028x\0', 'two lines x', 'two lines x'],
  ['שלום 🦦', 'שלום 🦦', 'שלום 🦦'],
  ['', '', ''],
];

test('in Markdown names are text, numbers have the decimals of their column, undefined is an en dash', () => {
  const rows = [
    ['cat', 1200, 1],
    ['dog', null, -0.25],
    ['owl', 3, NaN],
    ['elk', 0, 0.00012],
  ];
  const table = { columns: ['class', 'training_count', 'f1'], rows };
  assert.deepEqual(markdownText(table, ['F1 by class', 'step 3', 'A: a|b']).split('\n'), [
    'F1 by class, step 3, A: a\\|b',
    '',
    '| class | training count | f1 |',
    '| --- | ---: | ---: |',
    '| cat | 1200 | 1.000 |',
    '| dog | – | −0.250 |',
    '| owl | 3 | – |',
    '| elk | 0 | 0.00012 |',
    '',
  ]);
  for (const [name, escaped] of MARKUP) {
    const lines = markdownText({ columns: ['class'], rows: [[name]] }, [name]).split('\n');
    assert.equal(lines[4], `| ${escaped} |`);
    assert.equal(lines.length, 6);
  }
});

test('in LaTeX names are text between the rules of booktabs', () => {
  const rows = [
    ['a & b', 12, -0.5],
    ['[x]', null, null],
  ];
  const table = { columns: ['class', 'training_count', 'f1'], rows };
  assert.deepEqual(latexText(table, ['F1 by class', 'A: two\nlines']).split('\n'), [
    '% F1 by class, A: two lines',
    '% needs \\usepackage{booktabs}',
    '\\begin{tabular}{lrr}',
    '\\toprule',
    'class & training count & f1 \\\\',
    '\\midrule',
    'a \\& b & 12 & $-$0.500 \\\\',
    '{[}x] & -- & -- \\\\',
    '\\bottomrule',
    '\\end{tabular}',
    '',
  ]);
  for (const [name, , escaped] of MARKUP) {
    const lines = latexText({ columns: ['class'], rows: [[name]] }, []).split('\n');
    assert.equal(lines[6], `${escaped} \\\\`);
    assert.equal(lines.length, 10);
  }
});

test('a table without rows has its heading all the same', () => {
  assert.equal(markdownText({ columns: ['a_b'], rows: [] }, ['x']), 'x\n\n| a b |\n| --- |\n');
  assert.match(latexText({ columns: ['a_b'], rows: [] }, []), /\\toprule\na b \\\\\n\\midrule\n\\bottomrule/);
});
