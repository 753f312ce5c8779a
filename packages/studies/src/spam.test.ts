import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeFileSystem, openBackend } from 'krait';
import { baseModel } from 'krait/cli';
import type { SpamCorpus, SpamRecord } from 'krait/data';
import { Device } from 'krait/tensor';
import { LABELS, SPAM_SETTINGS, studySpam } from './spam.ts';

const BASE = baseModel();

const OFFERS = ['Free money', 'Win cash now', 'Cheap pills', 'Earn $5000 a week'];
const LETTERS = ['Meeting at noon', 'Patch for the kernel', 'Lunch on Friday', 'Notes of the call'];

/** Mails that a child could tell apart. */
function mails(count: number, offset: number): SpamRecord[] {
  return Array.from({ length: count }, (_, i): SpamRecord => {
    const isSpam = i % 3 === 0;
    const subject = (isSpam ? OFFERS : LETTERS)[(i + offset) % 4];
    const body = isSpam ? `Click here, offer ${i + offset} ends today!` : `See you then, and bring item ${i + offset}.`;
    return { id: `made/${i + offset}`, subject, body, label: isSpam ? 'spam' : 'ham' };
  });
}

const corpus: SpamCorpus = {
  splits: { train: mails(60, 0), validation: [], test: mails(30, 61) },
  report: { raw: 90, blank: 0, duplicates: 0, nearDuplicates: 0, contradictions: 0 },
};

test('the study of the carried model: every row measured, and learning makes it better', async () => {
  const device = new Device((await openBackend()).backend);
  const stages: string[] = [];
  try {
    const { lora, full } = SPAM_SETTINGS;
    const settings = { batchSize: 2, maxLength: 128, lora: { ...lora, steps: 12 }, full: { ...full, steps: 8 } };
    const files = new NodeFileSystem();
    const study = await studySpam({
      device,
      files,
      base: BASE,
      corpus,
      settings,
      onStage: (name) => stages.push(name),
    });
    assert.deepEqual(study.mails, { train: 60, test: 30 });
    assert.equal(study.parameters, 2_800_320);
    assert.deepEqual(study.majority, { label: 'ham', accuracy: 20 / 30 });
    const [zero, few, adapted, tuned] = study.rows;
    assert.deepEqual(
      study.rows.map(({ report }) => report.confusion.flat().reduce((sum, n) => sum + n, 0)),
      [30, 30, 30, 30],
    );
    assert.equal(zero.trainableParameters, null);
    assert.equal(few.name, '5-shot');
    assert.deepEqual([adapted.losses.length, tuned.losses.length], [12, 8]);
    assert.equal(tuned.trainableParameters, study.parameters);
    assert.ok(adapted.trainableParameters! < study.parameters / 4, `${adapted.trainableParameters}`);
    for (const row of [adapted, tuned]) {
      assert.ok(row.report.loss < zero.report.loss, `${row.name}: ${row.report.loss}, before ${zero.report.loss}`);
      assert.ok(row.peakBytes > 4 * study.parameters, `${row.name}: ${row.peakBytes} bytes`);
    }
    assert.deepEqual(
      study.examples.map(({ actual }) => actual),
      [...LABELS],
    );
    assert.equal(stages.length, 6);
  } finally {
    device.close();
  }
});

test('an aborted study throws the reason of its signal', async () => {
  const device = new Device((await openBackend()).backend);
  const controller = new AbortController();
  try {
    const input = {
      device,
      files: new NodeFileSystem(),
      base: BASE,
      corpus,
      settings: { batchSize: 2, maxLength: 128 },
    };
    const onProgress = (_: number, note?: string) => note && controller.abort(new Error('enough'));
    await assert.rejects(studySpam({ ...input, signal: controller.signal, onProgress }), /enough/);
  } finally {
    device.close();
  }
});
