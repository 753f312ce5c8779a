/** The optimisers by name: the only place that makes one. A new optimiser is a file beside this one, its name in names.ts and a row here. */
import { ADAMW_DEFAULTS, AdamW } from './adamw.ts';
import { LION_DEFAULTS, Lion } from './lion.ts';
import type { OptimizerName } from './names.ts';
import type { Optimizer, TrainedParameter } from './optimizer.ts';

/** Settings of optimisers, all together; each takes some. */
export interface OptimizerSettings {
  /** Decay rates of the moments. */
  betas: readonly [number, number];
  /** Added to the root of the second moment. */
  eps: number;
  /** Decoupled from the gradient; times the learning rate. */
  weightDecay: number;
}

interface OptimizerRow {
  /** As its paper writes it. */
  readonly title: string;
  /** The settings that it takes, with their values where none is given. */
  readonly defaults: Partial<OptimizerSettings>;
  /** Its default learning rate, as a share of that of AdamW. */
  readonly rateShare: number;
  create(parameters: Iterable<TrainedParameter>, settings: Partial<OptimizerSettings>): Optimizer;
}

export const OPTIMIZERS = {
  adamw: {
    title: 'AdamW',
    defaults: ADAMW_DEFAULTS,
    rateShare: 1,
    create: (parameters, settings) => new AdamW(parameters, settings),
  },
  lion: {
    title: 'Lion',
    defaults: LION_DEFAULTS,
    rateShare: 0.1,
    create: (parameters, settings) => new Lion(parameters, settings),
  },
} as const satisfies Record<OptimizerName, OptimizerRow>;

/** The optimiser of that name, with its defaults for what `settings` leaves out. */
export const createOptimizer = (
  name: OptimizerName,
  parameters: Iterable<TrainedParameter>,
  settings: Partial<OptimizerSettings> = {},
): Optimizer => {
  const stated = Object.entries(settings).filter(([, value]) => value !== undefined);
  return OPTIMIZERS[name].create(parameters, Object.fromEntries(stated));
};
