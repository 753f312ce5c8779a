import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../scripts/build-native.mjs', import.meta.url));
const unsupported = process.platform === 'win32' || !['x64', 'arm64'].includes(process.arch);
const skip = unsupported ? `the addon is not built on ${process.platform} ${process.arch}` : false;

// A compiler that says its name, and "compiles" by writing its output file.
const FAKE = `#!/bin/sh
for word in "$@"; do
  case "$word" in
    --version) echo "fake 1.0"; exit 0 ;;
    -mavx512f) echo "unknown flag $word"; exit 1 ;;
  esac
  if [ "$last" = "-o" ]; then echo made > "$word"; fi
  last="$word"
done
`;
const BROKEN = `#!/bin/sh
case "$*" in
  *--version*) echo "broken 1.0"; exit 0 ;;
  *probe.*) exit 0 ;;
esac
echo "error: first line"
echo "error: second line"
exit 1
`;

describe('build-native', { skip }, () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'krait-build-'));
    mkdirSync(join(folder, 'bin'));
    symlinkSync(process.execPath, join(folder, 'bin', 'node'));
    for (const [name, text] of Object.entries({ fake: FAKE, broken: BROKEN })) {
      writeFileSync(join(folder, name), text);
      chmodSync(join(folder, name), 0o755);
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const run = (out: string, env: Record<string, string>, ...flags: string[]) => {
    const options = { env: { ...process.env, CXX: '', ...env }, encoding: 'utf8' as const };
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [script, '--out', join(folder, out), ...flags],
      options,
    );
    return { status, stdout, stderr, addon: existsSync(join(folder, out, 'krait.node')) };
  };

  it('says in one line that there is no compiler, and fails only when told to', () => {
    const env = { PATH: join(folder, 'bin') };
    const plain = run('none', env);
    assert.equal(plain.status, 0);
    assert.match(
      plain.stderr,
      /^krait: native device not built: no C\+\+ compiler found \(.*\); WebAssembly will serve\n$/,
    );
    assert.equal(plain.addon, false);
    assert.equal(run('none', env, '--strict').status, 1);
    assert.match(run('none', { CXX: 'no-such-compiler' }).stderr, /\(CXX=no-such-compiler\)/);
  });

  it('builds once, leaves out variants with flags that the compiler does not know', () => {
    const env = { CXX: join(folder, 'fake') };
    const first = run('made', env, '--strict');
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stdout, /krait: native device built \(.*\), \d+ files in .* with fake 1\.0\n$/);
    if (process.arch === 'x64') {
      assert.match(first.stdout, /^krait: variant avx512bf16 left out: fake 1\.0 does not know its flags\n/);
      assert.match(first.stdout, /built \(avx2, x86_64\)/);
    }
    assert.ok(first.addon);
    assert.match(run('made', env).stdout, /^krait: native device is up to date \(.*\)\n$/);
    // An addon of these very sources serves on, without a compiler too.
    assert.match(run('made', { PATH: join(folder, 'bin') }).stdout, /up to date/);
    assert.equal(run('made', env, '--quiet').stdout, '');
  });

  it('shows all that a failing compiler says, and leaves no addon of other sources', () => {
    run('failed', { CXX: join(folder, 'fake') });
    const plain = run('failed', { CXX: join(folder, 'broken') });
    assert.equal(plain.status, 0);
    assert.match(plain.stderr, /broken 1\.0 failed on \d+ files:/);
    assert.match(plain.stderr, /native\/kernels\/\S+\.cc \(.*\):\nerror: first line\nerror: second line/);
    assert.equal(plain.addon, false);
    assert.equal(run('failed', { CXX: join(folder, 'broken') }, '--strict').status, 1);
  });
});
