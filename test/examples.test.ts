import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (name: string) =>
  spawnSync(process.execPath, ['--import', 'tsx', `examples/${name}`], { cwd: root, encoding: 'utf8' });

it('examples/engine.ts learns XOR', () => {
  const { status, stdout, stderr } = run('engine.ts');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /answers: -?0\.00 1\.00 1\.00 -?0\.00/);
});
