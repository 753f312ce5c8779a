/** What npm would publish is what package.json promises: entries, types, formats, by publint. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

describe('publint', () => {
  before(() => {
    const build = spawnSync(process.execPath, ['scripts/build-js.mjs', '--types'], { cwd: ROOT, encoding: 'utf8' });
    assert.equal(build.status, 0, build.stderr);
  });

  for (const folder of ['.', 'packages/studies']) {
    it(`finds nothing in what ${folder} would publish`, () => {
      const args = ['node_modules/publint/src/cli.js', 'run', folder, '--strict'];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
      assert.equal(status, 0, `${stdout}${stderr}`);
      assert.match(stdout, /All good!/);
    });
  }
});
