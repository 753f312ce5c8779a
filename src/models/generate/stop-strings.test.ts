import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom } from '../../core/index.ts';
import { StopStrings } from './stop-strings.ts';

/** Everything given out for some pieces, and whether it stopped. */
function feed(stops: readonly string[], pieces: readonly string[]): { text: string; isStopped: boolean } {
  const watcher = new StopStrings(stops);
  let all = '';
  for (const piece of pieces) {
    const { text, isStopped } = watcher.push(piece);
    all += text;
    if (isStopped) return { text: all, isStopped };
  }
  return { text: all + watcher.flush(), isStopped: false };
}

describe('stop strings', () => {
  it('are found across pieces and never given out', () => {
    assert.deepEqual(feed(['\n\n'], ['a\n', '\nb']), { text: 'a', isStopped: true });
    assert.deepEqual(feed(['END'], ['xE', 'N', 'Dy']), { text: 'x', isStopped: true });
    assert.deepEqual(feed(['END'], ['xE', 'N']), { text: 'xEN', isStopped: false });
    assert.deepEqual(feed(['aab'], ['aa', 'ab']), { text: 'a', isStopped: true });
    assert.deepEqual(feed(['b', 'ab'], ['xa', 'b']), { text: 'x', isStopped: true });
    assert.deepEqual(feed([], ['abc']), { text: 'abc', isStopped: false });
  });

  it('hold back no more than they must', () => {
    const watcher = new StopStrings(['stop', 'oops']);
    assert.equal(watcher.push('go st').text, 'go ');
    assert.equal(watcher.push('and').text, 'stand');
    assert.equal(watcher.push('!').text, '!');
  });

  it('cut where a search of the whole text cuts', () => {
    const random = new HostRandom(9);
    const letters = (n: number) => Array.from({ length: n }, () => 'ab'[random.integer(2)]).join('');
    for (let round = 0; round < 500; round++) {
      const stops = Array.from({ length: 1 + random.integer(3) }, () => letters(1 + random.integer(4)));
      const pieces = Array.from({ length: 12 }, () => letters(random.integer(3)));
      const whole = pieces.join('');
      const found = stops.map((stop) => whole.indexOf(stop)).filter((at) => at >= 0);
      const { text, isStopped } = feed(stops, pieces);
      assert.equal(isStopped, found.length > 0);
      // Of two stops the one that is complete first ends the text, though another may begin before it.
      if (!isStopped) assert.equal(text, whole);
      else assert.ok(whole.startsWith(text) && stops.some((stop) => whole.startsWith(stop, text.length)));
    }
  });
});
