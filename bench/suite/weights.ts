/** The random weights that all contestants read: one model of the 130M shape and one of 4 layers, and their GGUF files. */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openBackend } from '../../src/backend/select.ts';
import type { GgufType } from '../../src/io/index.ts';
import { randomModel, shapeConfig } from '../../src/measure/index.ts';
import { convertToGguf, saveModel } from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { Device } from '../../src/tensor/index.ts';
import type { Context } from './measurement.ts';

const files = new NodeFileSystem();
const LAYERS = 24;

/** Makes what is not there yet, aside and then at once: a killed run leaves nothing half written. */
async function once(path: string, make: (aside: string) => Promise<unknown>): Promise<string> {
  if (!existsSync(path)) {
    await rm(`${path}.new`, { recursive: true, force: true });
    await make(`${path}.new`);
    await rename(`${path}.new`, path);
  }
  return path;
}

/** Folder of the model of Mamba-130M's shape, its first `layers` alone. */
export function modelFolder({ work, say }: Pick<Context, 'work' | 'say'>, layers = LAYERS): Promise<string> {
  return once(join(work, `mamba-130m-${layers}`), async (folder) => {
    say(`random weights of ${layers} layers`);
    const device = new Device((await openBackend()).backend);
    const model = randomModel(device, { ...shapeConfig('130m'), numHiddenLayers: layers }, 'f32', 1);
    await saveModel(model, files, folder);
    model.dispose();
    device.close();
  });
}

/** The model as node-llama-cpp reads it. */
export async function ggufFile(context: Pick<Context, 'work' | 'say'>, type: GgufType): Promise<string> {
  const folder = await modelFolder(context);
  return once(join(context.work, `${type}.gguf`), (file) => {
    context.say(`GGUF file in ${type}`);
    return convertToGguf(files, folder, file, { type });
  });
}
