/** Results are what they were when they were frozen: with the other instruction sets, and of what takes longer. */
import { checkBase, checkResults, REST } from './check-results.ts';
import { nativeDevices, referenceDevice, wasmDevices } from './frozen-devices.ts';

const [wasm, fused] = await wasmDevices();
const native = nativeDevices();
checkResults(referenceDevice(), { models: REST, forecasters: [], part: 'rest' });
for (const device of [fused, ...native.slice(1)]) checkResults(device);
for (const device of [wasm, ...native]) checkBase(device);
