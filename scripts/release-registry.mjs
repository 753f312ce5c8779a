/**
 * A registry of npm that knows the packed platforms' packages alone, so that npm itself chooses among them by `os`, `cpu`
 * and `libc` before they are published. What it is not: it publishes nothing and passes nothing on.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Remedy, runChild } from './child.mjs';

/** What npm asks about a package: its manifest with the address and the hash of its file. */
async function describe(folder, file, address) {
  const args = ['-xzOf', file, 'package/package.json'];
  const { code, output } = await runChild('tar', args, { cwd: folder, stdout: 'collect' });
  if (code !== 0) throw new Remedy(`tar -xzOf ${file} failed: ${output.trim()}`);
  const manifest = JSON.parse(output);
  const integrity = `sha512-${createHash('sha512')
    .update(readFileSync(join(folder, file)))
    .digest('base64')}`;
  const dist = { tarball: `${address}/${file}`, integrity };
  const { name, version } = manifest;
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } };
}

/**
 * Serves the files `krait-ssm-*.tgz` of a folder on this machine alone.
 * @param {string} folder
 * @returns {Promise<{ address: string, close: () => void }>}
 */
export async function serveRegistry(folder) {
  const answers = new Map();
  const server = createServer((request, response) => {
    const answer = answers.get(decodeURIComponent(request.url));
    response.writeHead(answer ? 200 : 404).end(answer ?? '{}');
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${server.address().port}`;
  for (const file of readdirSync(folder).filter((name) => name.startsWith('krait-ssm-'))) {
    const packument = await describe(folder, file, address);
    answers.set(`/${packument.name}`, JSON.stringify(packument));
    answers.set(`/${file}`, readFileSync(join(folder, file)));
  }
  return { address, close: () => server.close() };
}
