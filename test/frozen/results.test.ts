/** Results are what they were when they were frozen: on the reference, WASM and the native device's usual instruction set. */
import { checkResults, SOME } from './check-results.ts';
import { FORECASTERS } from './forecast-results.ts';
import { nativeDevices, referenceDevice, wasmDevices } from './frozen-devices.ts';

const [wasm] = await wasmDevices();
const [native] = nativeDevices();
checkResults(referenceDevice(), { models: SOME, quick: ['mambats'] });
checkResults(wasm, { quick: ['mamba-b', 'falcon_mamba-a', 'gpt_neox-a'] });
checkResults(native, { quick: [...SOME, ...Object.keys(FORECASTERS)] });
