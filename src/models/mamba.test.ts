import { checkModel } from './testing/check-model.ts';
import { testDevices } from './testing/devices.ts';

const devices = await testDevices();
checkModel('mamba', ['mamba-a', 'mamba-b', 'mamba-c'], devices);
checkModel('falcon_mamba', ['falcon_mamba-a', 'falcon_mamba-b'], devices);
