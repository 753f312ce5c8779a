import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PythonRandom } from './random.ts';
import { capitalize, countWords, length, pythonText, trim, trimStart } from './text.ts';

/** What CPython 3.11 draws: `random.Random(seed)`, then in this order. */
const DRAWN: Record<number, Record<string, number[]>> = {
  0: {
    words: [3626764237, 1654615998, 3255389356],
    floats: [0.890243920837131, 0.04048437818077755],
    small: [8, 7, 6, 9],
    big: [19877, 31234, 23465, 38232, 14315, 33075],
    mid: [8, 18, 48, 6, 39],
    more: [32, 68, 77, 18, 39, 12],
    choices: [729, 898, 683, 472],
  },
  1234: {
    words: [4150886329, 3342196574, 1892932127],
    floats: [0.11685051774599753, 0.09064360641670188],
    small: [9, 0, 1, 8],
    big: [23241, 15519, 1142, 2019, 1038, 22681],
    mid: [41, 39, 30, 29, 9],
    more: [11, 23, 14, 1, 64, 62],
    choices: [880, 249, 667, 912],
  },
  1099511627781: {
    words: [2166296868, 2220160828, 1153647273],
    floats: [0.6637982795073579, 0.027427945516699803],
    small: [0, 2, 1, 6],
    big: [8772, 15661, 8960, 16226, 24921, 7937],
    mid: [50, 35, 14, 29, 58],
    more: [7, 14, 54, 5, 42, 56],
    choices: [285, 707, 814, 665],
  },
};

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const times = (n: number, draw: () => number) => range(n).map(draw);

describe("Python's random numbers", () => {
  it('words, floats, samples of both kinds and choices are those of CPython', () => {
    for (const [seed, expected] of Object.entries(DRAWN)) {
      const random = new PythonRandom(Number(seed));
      const drawn = {
        words: times(3, () => random.word()),
        floats: times(2, () => random.random()),
        small: random.sample(range(10), 4),
        big: random.sample(range(40000), 6),
        mid: random.sample(range(60), 5),
        more: random.sample(range(85), 6),
        choices: times(4, () => random.choice(1000)),
      };
      assert.deepEqual(drawn, expected, `seed ${seed}`);
    }
  });

  it('more items than there are, and seeds that are no whole numbers, are refused', () => {
    assert.throws(() => new PythonRandom(1).sample([1, 2], 3), /3 of 2 items cannot be drawn/);
    assert.throws(() => new PythonRandom(0.5), /seed: expected a whole number, got 0.5/);
  });
});

describe('text as Python sees it', () => {
  it('white space is not JavaScript’s', () => {
    assert.equal(trim('\x1c\x85 a\ufeff '), 'a\ufeff');
    assert.equal(trimStart('\u2003\x1f a '), 'a ');
    assert.equal(countWords(' a  b\x1c c\ufeffd '), 5); // len(re.split(r"\s+", ...))
  });

  it('capitals', () => {
    const cases = {
      'THE King': 'The king',
      ßTraße: 'Sstraße',
      'élan Vital': 'Élan vital',
      ΑΣ: 'Ας',
      '😀 Hello': '😀 hello',
      '': '',
    };
    for (const [text, expected] of Object.entries(cases)) assert.equal(capitalize(text), expected);
  });

  it('length is of code points, numbers and truth values are spelled its way', () => {
    assert.equal(length('né😀'), 3);
    assert.deepEqual([-3, -0.5, 0, true, false].map(pythonText), ['-3.0', '-0.5', '0.0', 'True', 'False']);
  });
});
