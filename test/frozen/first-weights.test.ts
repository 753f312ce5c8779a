/** The first weights of a new model, and its config.json, are what they were when they were frozen. */
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { createModel, Device, openBackend } from 'krait';
import { parseConfigText } from 'krait/models';
import { checkEntry, startAnew } from './golden.ts';
import { hashEach } from './hashes.ts';
import { FIXTURES } from './language-results.ts';

const GOLDEN = 'first-weights.json';
startAnew(GOLDEN);

describe('a new model', () => {
  for (const fixture of ['mamba-a', 'mamba-b', 'falcon_mamba-b', 'gpt_neox-b', 'gpt_neox-c']) {
    it(`of the shape of ${fixture} starts as it was frozen`, async () => {
      const device = new Device((await openBackend({ device: 'reference' })).backend);
      const text = readFileSync(`${FIXTURES}${fixture}/config.json`, 'utf8');
      const model = createModel(device, parseConfigText(text, 'config.json'), 7);
      const undecayed = [...model.parameters.keys()].filter((name) => !model.isDecayed(name));
      checkEntry(GOLDEN, fixture, {
        ...(await hashEach(model.parameters, 'first values:')),
        names: [...model.parameters.keys()].sort(),
        undecayed: undecayed.sort(),
        adaptable: [...model.adaptable.keys()].sort(),
        config: model.configJson(),
      });
      device.close();
    });
  }
});
