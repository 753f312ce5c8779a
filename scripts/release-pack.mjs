/**
 * Packs a release: the package `krait`, and one package for the addon of each platform, which `krait` names in its
 * `optionalDependencies`. The clone's own package.json does not name them: `npm ci` would look for packages that are not
 * published yet.
 *
 *   npm run release:pack -- [PLATFORM ...]      # those that `npm run release:build` built; all unless given
 *
 * Writes build/release/packages/*.tgz, which are what is published.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PLATFORMS, packageOf } from '../src/backend/native/platforms.ts';
import { Remedy, runChild, runScript } from './child.mjs';
import { runNpm } from './install.mjs';
import { addonOf, platformsOf, RELEASE } from './release-build.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
export const PACKAGES = join(RELEASE, 'packages');
const STAGE = join(RELEASE, 'stage');

/** The package.json of the clone. */
export const readManifest = () => JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

/** The package.json of `krait` as it is published: it names the platforms' packages, in exactly its own version. */
export function mainManifest(manifest, names) {
  const { devDependencies: _, scripts: __, ...published } = manifest;
  const optionalDependencies = Object.fromEntries(names.map((name) => [packageOf(name), manifest.version]));
  return { ...published, optionalDependencies: { ...manifest.optionalDependencies, ...optionalDependencies } };
}

/** The package.json of a platform's package. npm installs it where `os`, `cpu` and `libc` fit. */
export function platformManifest(name, { version, license, engines }) {
  const { os, cpu, libc } = PLATFORMS[name];
  return {
    name: packageOf(name),
    version,
    description: `Native device of krait for ${name}; krait installs it where it fits`,
    license,
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    files: ['krait.node'],
    preferUnplugged: true, // Yarn: a binary cannot be loaded from inside an archive
    publishConfig: { access: 'public' },
  };
}

/** The file that npm packs a package into. */
export const tarballOf = (name, version) => join(PACKAGES, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);

const write = (file, json) => writeFileSync(file, `${JSON.stringify(json, null, 2)}\n`);

async function pack(folder, out, flags = []) {
  const args = ['pack', folder, '--pack-destination', out, '--loglevel=error', ...flags];
  const { code, output } = await runNpm(args, { cwd: ROOT, stdout: 'collect' });
  if (code !== 0) throw new Remedy(`npm pack ${folder} failed: ${output.trim()}`);
}

/** Packs the clone, unpacks that, writes the published package.json into it and packs it again. */
async function packMain(names) {
  const manifest = readManifest();
  await pack('.', STAGE);
  const tarball = `krait-${manifest.version}.tgz`;
  // By its name alone: GNU's tar takes the colon of a path of Windows for that of another machine.
  const { code, output } = await runChild('tar', ['-xzf', tarball], { cwd: STAGE, stdout: 'collect' });
  if (code !== 0) throw new Remedy(`tar -xzf ${tarball} failed: ${output.trim()}`);
  write(join(STAGE, 'package', 'package.json'), mainManifest(manifest, names));
  await pack(join(STAGE, 'package'), PACKAGES, ['--ignore-scripts']);
}

async function packPlatform(name) {
  const folder = join(STAGE, name);
  if (!existsSync(addonOf(name))) throw new Remedy(`${addonOf(name)} is missing: npm run release:build -- ${name}`);
  mkdirSync(folder);
  const manifest = platformManifest(name, readManifest());
  write(join(folder, 'package.json'), manifest);
  writeFileSync(join(folder, 'README.md'), `# ${manifest.name}\n\n${manifest.description}.\n`);
  copyFileSync(addonOf(name), join(folder, 'krait.node'));
  copyFileSync(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'));
  await pack(folder, PACKAGES);
}

/** Packs `krait` and the platforms' packages into an empty folder. @throws {Remedy} */
export async function packAll(names) {
  for (const folder of [STAGE, PACKAGES]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  for (const name of names) await packPlatform(name);
  await packMain(names);
}

await runScript(import.meta.url, async (words) => {
  const names = platformsOf(words);
  await packAll(names);
  const { version } = readManifest();
  for (const name of [...names.map(packageOf), 'krait']) console.log(tarballOf(name, version));
});
