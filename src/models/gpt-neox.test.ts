import { checkHalf } from './testing/check-half.ts';
import { checkModel } from './testing/check-model.ts';
import { testDevices } from './testing/devices.ts';

const NAMES = ['gpt_neox-a', 'gpt_neox-b', 'gpt_neox-c'];

const devices = await testDevices();
checkModel('gpt_neox', NAMES, devices);
checkHalf(NAMES, devices);
