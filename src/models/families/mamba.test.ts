import { checkHalf } from '../testing/check-half.ts';
import { checkModel } from '../testing/check-model.ts';
import { testDevices } from '../testing/devices.ts';

const FIXTURES = {
  mamba: ['mamba-a', 'mamba-b', 'mamba-c'],
  falcon_mamba: ['falcon_mamba-a', 'falcon_mamba-b'],
};

const devices = await testDevices();
for (const [family, names] of Object.entries(FIXTURES)) checkModel(family, names, devices);
checkHalf(Object.values(FIXTURES).flat(), devices);
