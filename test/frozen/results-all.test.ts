/** Results are what they were when they were frozen: with the other instruction sets, and of a larger model. */
import { checkResults } from './check-results.ts';
import { nativeDevices, wasmDevices } from './frozen-devices.ts';

const [wasm, fused] = await wasmDevices();
checkResults(wasm, { models: [], forecasters: [], base: true });
checkResults(fused);
const [usual, ...others] = nativeDevices();
checkResults(usual, { models: [], forecasters: [], base: true });
for (const device of others) checkResults(device, { base: true });
