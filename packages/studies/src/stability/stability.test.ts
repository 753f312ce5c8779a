/** The stability study against direct numerical Jacobians and finite differences, in f64 on the reference device. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  createModel,
  type LanguageModel,
  type LayerDecay,
  loadModel,
  type ModelState,
  parseConfig,
  prefill,
  selectRows,
} from 'krait/models';
import { spreadOf } from 'krait/statistics';
import { Device } from 'krait/tensor';
import { createReferenceBackend } from '../../../../src/backend/reference/index.ts';
import { files, fixture } from '../../../../src/models/testing/fixtures.ts';
import { randomIds } from '../../../../src/models/testing/model-runs.ts';
import { frozenDecay, layerExponents } from './exponents.ts';
import { measureStability, type OpenedModel } from './measure.ts';
import { stabilityPage } from './page.ts';
import { perturb } from './perturbation.ts';
import { randomDirections, traceRecurrences } from './recurrence.ts';
import { type StabilitySettings, sampleTimes } from './settings.ts';
import { complaint, stabilityCsv } from './tables.ts';

const SETTINGS: StabilitySettings = {
  texts: 2,
  warmup: 5,
  horizon: 12,
  window: 4,
  directions: 3,
  epsilon: 1e-3,
  precisions: [],
  seed: 7,
};

const cuts = [1, 3, 4, 6, 8, 12];

let device: Device;
let model: LanguageModel;
let texts: number[][];
let rest: number[][];
let state: ModelState;

/** Values of the final recurrent states, [layers][texts * size], and hidden states, of a run from a state. */
async function runFrom(start: ModelState, rows: readonly (readonly number[])[]) {
  const { hidden, state: end } = device.noGrad(() =>
    device.scope(() => {
      const ids = device.from(rows.flat(), [rows.length, rows[0].length], 'i32');
      return model.forward(ids, { state: start, wantState: true });
    }),
  );
  const layers: Float64Array[] = [];
  for (const { scan } of end!.layers) layers.push(Float64Array.from(await scan.read()));
  const values = Float64Array.from(await hidden.read());
  hidden.dispose();
  end!.dispose();
  return { layers, hidden: values };
}

/** Runs `work` while values are added to a layer's recurrent state. */
async function withMoved<T>(layer: number, offset: ArrayLike<number>, work: () => Promise<T>): Promise<T> {
  const { scan } = state.layers[layer];
  const original = Float64Array.from(await scan.read());
  scan.write(original.map((x, i) => x + offset[i]));
  try {
    return await work();
  } finally {
    scan.write(original);
  }
}

before(async () => {
  device = new Device(createReferenceBackend());
  const sizes = { hidden_size: 10, num_hidden_layers: 2, vocab_size: 61, state_size: 4, time_step_rank: 2 };
  const config = parseConfig({ model_type: 'mamba', ...sizes, time_step_max: 0.5 }, 'config.json');
  model = createModel(device, config, 3, { dtype: 'f64' });
  texts = [1, 2].map((seed) => randomIds(17, model.vocabSize, seed));
  rest = texts.map((text) => text.slice(SETTINGS.warmup));
  const read = await prefill(
    model,
    texts.map((text) => text.slice(0, SETTINGS.warmup)),
  );
  read.hidden.dispose();
  state = read.state;
});
after(() => {
  state.dispose();
  model.dispose();
  assert.equal(device.memory().blocks, 0, 'blocks stay behind');
  device.close();
});

const trace = () => traceRecurrences({ model, texts: rest, state, cuts, directions: 3, seed: 7 });

describe('exponents', () => {
  it('are those of the Jacobian of the whole model, differentiated numerically', async () => {
    const [first, second] = (await trace()).map((t) => layerExponents(t, 4));
    const size = state.layers[0]['scan'].size / 2;
    const h = 1; // of its own layer the state is linear
    for (const [layer, exponents] of [first, second].entries()) {
      const found = [new Float64Array(size), new Float64Array(size)];
      for (let i = 0; i < size; i++) {
        const offset = (sign: number) =>
          Float64Array.from({ length: 2 * size }, (_, j) => (j % size === i ? sign * h : 0));
        const plus = await withMoved(layer, offset(1), () => runFrom(state, rest));
        const minus = await withMoved(layer, offset(-1), () => runFrom(state, rest));
        for (const text of [0, 1]) {
          const column = plus.layers.map((values, l) =>
            values
              .subarray(text * size, (text + 1) * size)
              .map((x, j) => (x - minus.layers[l][text * size + j]) / (2 * h)),
          );
          found[text][i] = Math.log(column[layer][i]) / SETTINGS.horizon;
          // Of its own layer nothing else moves, and nothing of the layers below: the whole Jacobian is triangular.
          column[layer][i] = 0;
          for (const part of column.slice(0, layer + 1))
            assert.ok(
              part.every((x) => Math.abs(x) < 1e-9),
              `state ${i}`,
            );
        }
      }
      const largest = found.map((values) => Math.max(...values));
      const expected = (largest[0] + largest[1]) / 2;
      assert.ok(Math.abs(exponents.maximal.value - expected) < 1e-8, `${exponents.maximal.value} against ${expected}`);
      // The fastest are below what differences resolve; the distribution is checked from its middle up.
      const all = spreadOf(found[0].map((x, i) => (x + found[1][i]) / 2));
      for (const share of ['median', 'p75', 'p90', 'max'] as const) {
        const [got, wanted] = [exponents.states[share], all[share]];
        assert.ok(Math.abs(got - wanted) < 1e-8, `layer ${layer}, ${share}: ${got} against ${wanted}`);
      }
      assert.equal(exponents.verdict, 'stable');
      assert.deepEqual([exponents.above, exponents.notFinite, exponents.count], [0, 0, size]);
    }
  });

  it('of windows average to those of the whole', async () => {
    const [{ stretches, ...some }] = await trace();
    // With one rate everywhere the maximum is over channels alone; with one channel windows average exactly.
    const one = { ...some, channels: 1, states: 1, rates: Float64Array.of(-2) };
    const single = { ...one, stretches: stretches.map((s) => ({ ...s, steps: s.steps.slice(0, 2) })) };
    const { windows, maximal } = layerExponents(single, 4);
    assert.deepEqual(
      windows.map(({ from, to }) => [from, to]),
      [
        [0, 4],
        [4, 8],
        [8, 12],
      ],
    );
    const mean = windows.reduce((sum, w) => sum + w.maximal, 0) / 3;
    assert.ok(Math.abs(mean - maximal.value) < 1e-14, `${mean} against ${maximal.value}`);
  });
});

describe('a deviation with gates frozen', () => {
  it('is that of finite differences, planted in one layer alone', async () => {
    const size = state.layers[0]['scan'].size / 2;
    const h = 1e-4;
    for (const { layer, stretches } of await trace()) {
      for (const k of [0, 1, 2]) {
        const direction = randomDirections(2, size, 7, layer * 3 + k);
        for (const { to, deviations } of stretches) {
          const part = rest.map((ids) => ids.slice(0, to));
          const moved = (sign: number) =>
            withMoved(
              layer,
              direction.map((x) => sign * h * x),
              () => runFrom(state, part),
            );
          const [plus, minus] = [await moved(1), await moved(-1)];
          for (const text of [0, 1]) {
            let total = 0;
            for (let i = text * size; i < (text + 1) * size; i++) {
              total += ((plus.layers[layer][i] - minus.layers[layer][i]) / (2 * h)) ** 2;
            }
            const expected = Math.sqrt(total);
            assert.ok(Math.abs(deviations[k][text] - expected) < 1e-7 * expected, `layer ${layer}, ${to} positions`);
          }
        }
      }
    }
  });

  it('stays under the norm of the Jacobian, and falls', async () => {
    for (const one of await trace()) {
      const { curve, bound, againstBound } = frozenDecay(one, [1, 4, 12]);
      assert.ok(againstBound > 0 && againstBound <= 1 + 1e-12, `${againstBound}`);
      assert.ok(
        curve.median.every((x, i) => x < 1 && x <= bound[i]),
        'above the bound',
      );
      assert.ok(curve.median[2] < curve.median[1] && curve.median[1] < curve.median[0], 'it grows');
    }
  });
});

describe('a perturbation with everything recomputed', () => {
  it('of the state is that of runs one by one', async () => {
    const settings = { ...SETTINGS, texts: 1, directions: 1 };
    const one = selectRows(state, [1]);
    const result = await perturb(model, 'state', { texts: [rest[1]], states: [one], settings });
    one.dispose();
    const size = state.layers[0]['scan'].size / 2;
    const times = result.hidden.times;
    const plain = await runFrom(state, rest);
    const originals: Float64Array[] = [];
    let planted = 0;
    for (const [layer, { scan }] of state.layers.entries()) {
      const values = Float64Array.from(await scan.read());
      originals.push(values.slice());
      const norm = Math.hypot(...values.subarray(size));
      const direction = randomDirections(3, size, SETTINGS.seed, layer).subarray(2 * size);
      for (let i = 0; i < size; i++) values[size + i] += direction[i] * norm * settings.epsilon;
      planted += (norm * settings.epsilon) ** 2;
      scan.write(values);
    }
    const moved = await runFrom(state, rest);
    state.layers.forEach(({ scan }, layer) => {
      scan.write(originals[layer]);
    });
    let left = 0;
    plain.layers.forEach((values, layer) => {
      for (let i = size; i < 2 * size; i++) left += (values[i] - moved.layers[layer][i]) ** 2;
    });
    const expected = Math.sqrt(left / planted);
    assert.equal(times[times.length - 1], SETTINGS.horizon);
    assert.ok(Math.abs(result.states!.last - expected) < 1e-9, `${result.states!.last} against ${expected}`);
    // Hidden states are told as root mean squares over the stretch, here of the positions after 8 and 11.
    const d = model.hiddenSize;
    const from = times[times.length - 2];
    let total = 0;
    for (let t = SETTINGS.horizon + from; t < 2 * SETTINGS.horizon; t++) {
      const row = (values: Float64Array) => values.subarray(t * d, (t + 1) * d);
      const [a, b] = [row(moved.hidden), row(plain.hidden)];
      total += a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0) / b.reduce((sum, x) => sum + x * x, 0);
    }
    const relative = Math.sqrt(total / (SETTINGS.horizon - from)) / settings.epsilon;
    assert.ok(Math.abs(result.hidden.last - relative) < 1e-9, `${result.hidden.last} against ${relative}`);
  });

  it('is linear where it is small: a tenth of it amplifies as much', async () => {
    const states = [0, 1].map((row) => selectRows(state, [row]));
    for (const target of ['state', 'stream'] as const) {
      const run = (epsilon: number) =>
        perturb(model, target, { texts: rest, states, settings: { ...SETTINGS, epsilon } });
      const [small, smaller] = [await run(1e-5), await run(1e-6)];
      small.hidden.median.forEach((x, i) => {
        assert.ok(Math.abs(x / smaller.hidden.median[i] - 1) < 1e-3, `${target} at ${small.hidden.times[i]}`);
      });
    }
    for (const one of states) one.dispose();
  });
});

/** A model that stays when it is disposed of here. */
const opened = (of: LanguageModel): OpenedModel => ({ model: of, dispose: () => undefined });

/** Everything, on short texts of the fixture. */
const measure = (
  of: LanguageModel,
  changes: Partial<StabilitySettings> = {},
  openHalf = async (): Promise<OpenedModel> => opened(of),
) => measureStability({ model: of, openHalf, texts, settings: { ...SETTINGS, ...changes } });

describe('a model as a whole', () => {
  it('is unstable where A is above 0', async () => {
    const { device: own } = model;
    const bad = await loadModel(own, files, fixture('mamba-a'), { dtype: 'f64' });
    // The rates that the layer itself goes on to use are what it shows.
    let seen: number[] = [];
    let write = Promise.resolve();
    const observe = ({ layer, A }: LayerDecay) => {
      if (layer !== 1) return;
      const kept = own.keep(A.alias());
      write = (async () => {
        const values = Float64Array.from(await kept.read());
        values[5] = -values[5];
        kept.write(values);
        seen = Array.from(values);
        kept.dispose();
      })();
    };
    own.noGrad(() => own.scope(() => void bad.forward(own.from([1], [1, 1], 'i32'), { observe })));
    await write;
    const result = await measure(bad);
    const { recurrence } = result;
    assert.equal(recurrence!.verdict, 'unstable');
    assert.equal(recurrence!.layer, 1);
    assert.ok(recurrence!.maximal > 0 && recurrence!.halfLife === null, `${recurrence!.maximal}`);
    assert.deepEqual(
      recurrence!.layers.map(({ verdict, above }) => [verdict, above]),
      [
        ['stable', 0],
        ['unstable', 1],
      ],
    );
    assert.ok(seen[5] > 0, 'nothing was planted');
    // Carried long enough, the deviation grows as the exponent says.
    const { bound, againstBound } = recurrence!.frozen[1];
    assert.ok(bound[bound.length - 1] > 1 && againstBound <= 1 + 1e-12, 'the norm of the Jacobian does not grow');
    const cell = { label: 'bad', folder: 'bad', adapter: null, seconds: 1, result };
    assert.match(complaint(cell)!, /^bad is UNSTABLE: .*: layer 1: exponent 0\.\d+ \(1 above 0 of \d+ states\)$/);
    const study = { settings: SETTINGS, source: 'ids', device: 'reference', cells: [cell] };
    assert.match(stabilityPage(study), /class="callout alert"[\s\S]*bad is UNSTABLE/);
    assert.match(stabilityCsv(study), /^bad,exponent\.maximal,1,,0\.\d+,/m);
    bad.dispose();
  });

  it('is unstable where A_log is not a number, and marginal where A is 0', async () => {
    for (const [value, verdict] of [
      [Number.NaN, 'unstable'],
      [Number.NEGATIVE_INFINITY, 'marginal'],
    ] as const) {
      const odd = await loadModel(device, files, fixture('mamba-a'), { dtype: 'f64' });
      const aLog = odd.parameters.get('backbone.layers.0.mixer.A_log')!;
      const values = Float64Array.from(await aLog.read());
      values[0] = value;
      aLog.write(values);
      const { recurrence } = await measure(odd);
      assert.equal(recurrence!.verdict, verdict);
      assert.equal(recurrence!.layer, 0);
      assert.equal(recurrence!.layers[0].notFinite, Number.isNaN(value) ? 1 : 0);
      assert.equal(recurrence!.layers[1].verdict, Number.isNaN(value) ? 'unstable' : 'stable'); // it reads the first
      odd.dispose();
    }
  });

  it('has no deviation from itself, and one from a half type', async () => {
    const open = (dtype: 'f64' | 'f16') => loadModel(device, files, fixture('mamba-a'), { dtype });
    const own = (half: LanguageModel): OpenedModel => ({ model: half, dispose: () => half.dispose() });
    const reference = await open('f64');
    const same = await measure(reference, { precisions: ['bf16'] }, async () => own(await open('f64')));
    assert.deepEqual(new Set(same.rounding[0].hidden.high), new Set([0]));
    assert.equal(same.rounding[0].sameBest.value, 1);
    const half = await measure(reference, { precisions: ['f16'] }, async () => own(await open('f16')));
    reference.dispose();
    for (const { median } of [half.rounding[0].hidden, half.rounding[0].states!]) {
      assert.ok(
        median.every((x) => x > 1e-5 && x < 1e-2),
        `${median}`,
      );
    }
  });

  it('may be a Transformer, which has no recurrence', async () => {
    const neox = await loadModel(device, files, fixture('gpt_neox-a'), { dtype: 'f64' });
    const { recurrence, state: inState, stream } = await measure(neox);
    assert.deepEqual([recurrence, inState, stream.states, stream.layers], [null, null, null, []]);
    assert.deepEqual(
      stream.hidden.times,
      sampleTimes(12)
        .concat([])
        .sort((a, b) => a - b),
    );
    assert.ok(
      stream.hidden.median.every((x) => x > 0 && Number.isFinite(x)),
      'no deviation',
    );
    assert.ok(stream.hidden.median[0] > stream.hidden.last, 'the perturbed position is not the most perturbed');
    neox.dispose();
  });

  it('is measured on what it is told to be, until a signal fires', async () => {
    await assert.rejects(measure(model, { horizon: 13 }), /horizon: 13 is no multiple of the window of 4; give 12/);
    await assert.rejects(measure(model, { warmup: 6 }), /texts: expected 2 of 18 tokens, got one of 17/);
    await assert.rejects(measure(model, { epsilon: 0 }), /epsilon: 0 is not between 0 and 1/);
    const { blocks } = device.memory();
    const signal = AbortSignal.abort();
    await assert.rejects(
      measureStability({ model, openHalf: async () => opened(model), texts, settings: SETTINGS, signal }),
      {
        name: 'AbortError',
      },
    );
    assert.equal(device.memory().blocks, blocks, 'blocks stay behind');
  });
});
