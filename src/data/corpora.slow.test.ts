/** The data sets of the installed npm packages, of the versions in package-lock.json. */
import { NpmDataSource } from '../platform/node/index.ts';
import { checkDatasets } from './testing/check-datasets.ts';

checkDatasets('data sets of the installed packages', new NpmDataSource(), {
  records: {
    spam: { train: 3771, validation: 300, test: 1000 },
    sotu: { train: 227, validation: 6 },
    'moby-dick': { train: 135, validation: 3 },
    'wordnet-glosses': { train: 5856, validation: 120 },
    mail: { train: 3771, validation: 300 },
  },
  labels: [
    { ham: 2876, spam: 895 },
    { ham: 229, spam: 71 },
    { ham: 767, spam: 233 },
  ],
});
