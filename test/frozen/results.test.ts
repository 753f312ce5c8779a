/** Results are what they were when they were frozen: on the reference, WASM and the native device's usual instruction set. */
import { checkResults, REST, SOME } from './check-results.ts';
import { nativeDevices, referenceDevice, wasmDevices } from './frozen-devices.ts';

const [wasm] = await wasmDevices();
const [native] = nativeDevices();
checkResults(referenceDevice(), { models: SOME, quick: ['gpt_neox-c'] });
checkResults(wasm, { quick: REST });
checkResults(native);
