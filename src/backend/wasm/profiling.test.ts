/** The profiler's contract on each of the device's queues: they take their times in different places. */
import { after, before, describe } from 'node:test';
import { oneOfEach } from '../testing/contract.ts';
import { describeProfiling } from '../testing/profiling.ts';
import { createWasmBackend, type WasmBackend, type WasmOptions, wasmAvailability } from './index.ts';

const QUEUES: Record<string, WasmOptions> = {
  'two threads': { threads: 2 },
  'two threads that never block the caller': { threads: 2, mayBlock: false },
  'no threads': { threads: 0 },
};
const { available, reason } = await wasmAvailability();

for (const [way, options] of Object.entries(QUEUES)) {
  describe(`wasm queue, ${way}`, { skip: available ? false : reason }, () => {
    let device: WasmBackend;
    before(async () => {
      device = await createWasmBackend(options);
    });
    after(() => device.close());
    describeProfiling(() => device, oneOfEach);
  });
}
