/**
 * A release without its last step: builds and packs it, checks each platform whose Node runs here, and prints how each
 * was checked. Fails if an addon was checked less than src/backend/native/platforms.ts claims.
 *
 *   npm run release:dry -- [PLATFORM ...]      # all platforms unless given
 */
import { statSync } from 'node:fs';
import { PLATFORMS, packageOf } from '../src/backend/native/platforms.ts';
import { Remedy, runScript } from './child.mjs';
import { say } from './prepare.mjs';
import { addonOf, buildAddons, GLIBC, glibcOf, platformsOf } from './release-build.mjs';
import { checkPlatform } from './release-check.mjs';
import { nodeOf } from './release-node.mjs';
import { packAll, readManifest, tarballOf } from './release-pack.mjs';

const WORDS = { run: 'ran here', emulated: 'ran in emulation', compiled: 'compiled only', failed: 'FAILED' };
const RANK = ['failed', 'compiled', 'emulated', 'run'];

/** Whether what was shown of a platform's addon falls short of what platforms.ts claims. */
export const fallsShort = (name, shown) => RANK.indexOf(shown) < RANK.indexOf(PLATFORMS[name].checked);

const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(2)} MB`;

/** What can be shown of a platform's addon here, and on which devices its jobs ran. A failure is told, and the rest goes on. */
async function show(name) {
  try {
    const node = await nodeOf(name);
    say(`checking ${name}: ${node ? node.command.join(' ') : 'no Node for it here'}`);
    if (!node) return { shown: 'compiled', devices: '-' };
    const { native, wasm, reason } = await checkPlatform(name, node);
    say(`without its package: ${reason}`);
    return { shown: node.how, devices: `${native}; without its package ${wasm}` };
  } catch (error) {
    if (!(error instanceof Remedy)) throw error;
    say(error.message);
    return { shown: 'failed', devices: '-' };
  }
}

async function rowOf(name) {
  const glibc = await glibcOf(name);
  const { shown, devices } = await show(name);
  const sizes = [megabytes(addonOf(name)), megabytes(tarballOf(packageOf(name), readManifest().version))];
  return { shown, cells: [name, WORDS[shown], devices, ...sizes, glibc ?? '-'] };
}

function printTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
}

await runScript(import.meta.url, async (words) => {
  const names = platformsOf(words);
  await buildAddons(names);
  say('packing');
  await packAll(names);
  const rows = [];
  for (const name of names) rows.push(await rowOf(name));
  const head = ['platform', 'checked', 'devices', 'addon', 'package', `glibc (<= ${GLIBC})`];
  printTable([head, ...rows.map(({ cells }) => cells)]);
  console.log(`krait itself: ${megabytes(tarballOf('krait', readManifest().version))}`);
  const short = names.filter((name, i) => fallsShort(name, rows[i].shown));
  if (short.length) {
    throw new Remedy(
      `not checked as platforms.ts claims: ${short.join(', ')}; install what runs their Node (docs/releasing.md), ` +
        'or name other platforms',
    );
  }
});
