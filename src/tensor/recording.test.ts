import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../backend/reference/index.ts';
import * as T from './index.ts';

const device = new T.Device(createReferenceBackend());
after(() => device.close());
const valuesOf = async (t: T.Tensor) => Array.from(await t.read());
const inUse = () => {
  const { blocks, bytesInUse } = device.memory();
  return { blocks, bytesInUse };
};

describe('recording', () => {
  it('runs when launched, each time on what stands in its inputs', async () => {
    const start = inUse();
    const x = device.from([1, 2]);
    const recording = device.record(() => T.mul(T.add(x, device.from([10, 20])), x));
    const y = recording.result;
    const seen = [];
    for (const value of [1, 3]) {
      x.write(Float32Array.of(value, -value));
      recording.launch();
      seen.push(await valuesOf(y));
    }
    assert.deepEqual(seen, [
      [11, -19],
      [39, -51],
    ]);
    recording.close();
    recording.close();
    assert.throws(() => recording.launch(), /closed/);
    assert.deepEqual(await valuesOf(y), seen[1]); // the result is the caller's
    for (const tensor of [x, y]) tensor.dispose();
    assert.deepEqual(inUse(), start);
  });

  it('uses memory again inside itself, but never that of a constant', async () => {
    const x = device.from([1, 2]);
    const before = inUse().blocks;
    const chain = (length: number) =>
      device.record(() => {
        let y = T.add(x, device.from([1, 1]));
        for (let i = 0; i < length; i++) {
          const last = y;
          y = device.scope(() => T.add(last, device.from([1, 1])));
          last.dispose();
        }
        return y;
      });
    const [short, long] = [chain(2), chain(30)];
    for (let round = 0; round < 3; round++) {
      long.launch();
      assert.deepEqual(await valuesOf(long.result), [32, 33]);
    }
    assert.ok(inUse().blocks - before <= 2 * 2 + 3 + 31 + 2, `${inUse().blocks - before} blocks`);
    for (const recording of [short, long]) {
      recording.close();
      recording.result.dispose();
    }
    assert.equal(inUse().blocks, before);
    x.dispose();
  });

  it('takes turns with itself', async () => {
    const start = inUse();
    const state = device.from([1, 1]);
    const recording = device.record(() => T.add(state, device.from([1, 2])));
    const after = recording.result;
    const back = recording.exchanged([[state, after]]);
    recording.launch();
    back.launch();
    recording.launch();
    assert.deepEqual(
      [await valuesOf(state), await valuesOf(after)],
      [
        [3, 5],
        [4, 7],
      ],
    );
    assert.throws(() => recording.exchanged([[state, device.from([1])]]), /two of a kind/);
    assert.throws(() => recording.exchanged([[state, state]]), /two of a kind/);
    recording.close();
    assert.throws(() => back.launch(), /closed/);
    for (const tensor of [state, after]) tensor.dispose();
    assert.equal(inUse().blocks, start.blocks + 1); // the [1] of above
  });

  it('keeps what it reads, whoever disposes of it', async () => {
    const start = inUse();
    const x = device.from([1, 2]);
    const recording = device.record(() => T.neg(x));
    x.dispose();
    const other = device.from([7, 7]);
    recording.launch();
    assert.deepEqual(await valuesOf(recording.result), [-1, -2]);
    recording.close();
    for (const tensor of [other, recording.result]) tensor.dispose();
    assert.deepEqual(inUse(), start);
  });

  it('refuses to read, write or record inside, and leaves nothing behind', async () => {
    const x = device.from([1, 2]);
    const start = inUse();
    assert.throws(
      () => device.record(() => x.write(Float32Array.of(1, 2))),
      /\[write\] not while work is being recorded/,
    );
    assert.throws(() => device.record(() => device.record(() => x)), /under way/);
    assert.throws(
      () =>
        device.record(() => {
          T.add(x, device.from([1, 1]));
          throw new Error('halfway');
        }),
      /halfway/,
    );
    let reading: Promise<unknown> = Promise.resolve();
    let syncing: Promise<unknown> = Promise.resolve();
    const recording = device.record(() => {
      reading = x.read();
      syncing = device.sync();
    });
    await assert.rejects(reading, /\[read\] not while/);
    await assert.rejects(syncing, /\[sync\] not while/);
    recording.close();
    assert.deepEqual(inUse(), start);
    assert.deepEqual(await valuesOf(T.neg(x)), [-1, -2]); // and goes on as before
    x.dispose();
  });
});
