/** What npm would publish is what package.json promises: entries, types, formats, by publint. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

describe('publint', () => {
  for (const folder of ['.', 'packages/studies']) {
    it(`finds nothing in ${folder}`, async () => {
      const { messages, pkg } = await publint({
        pkgDir: `${ROOT}${folder}`,
        level: 'warning',
        strict: true,
        pack: false,
      });
      assert.deepEqual(
        messages.map((message) => formatMessage(message, pkg)),
        [],
      );
    });
  }
});
