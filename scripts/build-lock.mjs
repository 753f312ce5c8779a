/**
 * One builder at a time: a folder `build/.lock` with the owner's process id. The owner touches it every few
 * seconds; a lock is stale when its process is gone from this machine, or when it was not touched for two minutes.
 * Built-in modules only.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Remedy } from './child.mjs';

const BEAT_MS = 5_000;
const STALE_MS = 120_000;
const POLL_MS = 200;

/**
 * Runs `work` while this process alone holds the lock of `root`, waiting for another builder first.
 * @template T
 * @param {string} root the repository
 * @param {() => Promise<T>} work
 * @param {(line: string) => void} say told once when there is somebody to wait for, and when a stale lock is removed
 * @returns {Promise<T>} what `work` returned; the lock is gone by then, also when `work` threw
 */
export async function withBuildLock(root, work, say) {
  const lock = join(root, 'build', '.lock');
  const token = randomUUID();
  let isTold = false;
  while (!tryTake(lock, token)) {
    const owner = readOwner(lock);
    if (owner?.isStale) {
      if (removeIfSame(lock, owner.token)) say(`removed the lock that process ${owner.pid} left behind (build/.lock)`);
      continue;
    }
    if (owner && !isTold) say(`waiting for process ${owner.pid}, which is building (if it is not, delete build/.lock)`);
    isTold ||= owner !== undefined;
    await sleep(POLL_MS);
  }
  const beat = setInterval(() => touch(lock), BEAT_MS);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    removeIfSame(lock, token);
  }
}

/** The lock appears complete, by a rename: nobody ever sees it without its owner. */
function tryTake(lock, token) {
  const fresh = `${lock}-${token}`;
  try {
    mkdirSync(fresh, { recursive: true });
    writeFileSync(join(fresh, 'owner.json'), JSON.stringify({ pid: process.pid, host: hostname(), token }));
  } catch (error) {
    throw new Remedy(`${lock}: cannot be written (${error.code}): make the repository's folder writable`);
  }
  try {
    renameSync(fresh, lock);
    return true;
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (['ENOTEMPTY', 'EEXIST', 'EPERM', 'ENOTDIR', 'EACCES'].includes(error.code)) return false;
    throw error;
  }
}

function readOwner(lock) {
  const file = join(lock, 'owner.json');
  let age;
  try {
    age = Date.now() - statSync(file).mtimeMs;
    const { pid, host, token } = JSON.parse(readFileSync(file, 'utf8'));
    return { pid, token, isStale: age > STALE_MS || (host === hostname() && !isAlive(pid)) };
  } catch (error) {
    if (error.code === 'ENOENT' && !isFolder(lock)) return undefined; // released just now
    return { pid: 'unknown', token: undefined, isStale: true }; // not written by this script, or damaged
  }
}

const isFolder = (path) => statSync(path, { throwIfNoEntry: false }) !== undefined;

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Moves the lock aside before looking at it, so that of two who want to remove it only one does. */
function removeIfSame(lock, token) {
  const aside = `${lock}-${randomUUID()}`;
  try {
    renameSync(lock, aside);
  } catch {
    return false; // somebody else was faster
  }
  if (readToken(aside) !== token) {
    try {
      renameSync(aside, lock);
      return false;
    } catch {
      // a third process took its place meanwhile: fall through
    }
  }
  rmSync(aside, { recursive: true, force: true });
  return true;
}

function readToken(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'owner.json'), 'utf8')).token;
  } catch {
    return undefined;
  }
}

function touch(lock) {
  try {
    const now = new Date();
    utimesSync(join(lock, 'owner.json'), now, now);
  } catch {
    // removed by hand: nothing to keep alive
  }
}
