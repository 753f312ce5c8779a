/** Work of `krait data ls|get`: the data sets that npm packages carry, listed or written as JSON Lines for `krait tune --data`. */
import { EnvironmentError } from '../../core/index.ts';
import {
  type DatasetInfo,
  DatasetReader,
  type DatasetSplit,
  findDataset,
  findSplit,
  listDatasets,
  type SplitSize,
  splitSizes,
  writeDataset,
} from '../../data/index.ts';
import { NpmDataSource } from '../../platform/node/index.ts';
import { formatBytes, table } from '../../report/terminal.ts';
import { nodeFiles } from '../files.ts';
import type { Output } from '../output.ts';
import { checkOutputFolder } from '../output-folder.ts';
import type { GetFlags, ListFlags } from './command.ts';

/** A row of the list; null is what is not known: of a package that is not installed, or without `--count`. */
interface Row extends Omit<DatasetInfo, 'splits'> {
  readonly version: string | null;
  readonly splits: readonly ({ readonly name: DatasetSplit } & (SplitSize | { records: null; bytes: null }))[];
}

async function rowOf(reader: DatasetReader, info: DatasetInfo, isCounted: boolean, output: Output): Promise<Row> {
  let version: string | null = null;
  let sizes: ReadonlyMap<DatasetSplit, SplitSize> = new Map();
  try {
    version = await reader.version(info.name);
    if (isCounted) sizes = splitSizes(await reader.load(info.name));
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    output.warn(`${info.name}: ${error.message}`);
  }
  const splits = info.splits.map((name) => ({ name, ...(sizes.get(name) ?? { records: null, bytes: null }) }));
  return { ...info, version, splits };
}

function describeSplit({ name, records, bytes, ...rest }: Row['splits'][number]): string {
  if (records === null) return name;
  const labels = Object.entries('labels' in rest ? (rest.labels ?? {}) : {});
  const shares = labels.map(([label, count]) => `${count.toLocaleString('en')} ${label}`).join(', ');
  return `${name} ${records.toLocaleString('en')} (${shares && `${shares}; `}${formatBytes(bytes)})`;
}

function listText(rows: readonly Row[], isCounted: boolean): string {
  const cells = rows.map(({ name, package: carrier, version, form }) => [
    name,
    form,
    carrier,
    version ?? 'not installed',
  ]);
  const details = rows.map(({ name, content, purpose, licence, splits }) =>
    [
      `${name}: ${content}`,
      `  for      ${purpose}`,
      `  splits   ${splits.map(describeSplit).join(', ')}`,
      `  licence  ${licence}`,
    ].join('\n'),
  );
  const hints = isCounted ? [] : ['Records of each split: krait data ls --count (reads them all: some seconds).'];
  return [
    table([['name', 'record', 'npm package', 'version'], ...cells]),
    ...details,
    [...hints, 'Files for krait tune --data: krait data get NAME --out DIR'].join('\n'),
  ].join('\n\n');
}

export async function list(options: ListFlags, output: Output): Promise<void> {
  const isCounted = options.count ?? false;
  const reader = new DatasetReader(new NpmDataSource());
  const rows: Row[] = [];
  for (const info of listDatasets()) rows.push(await rowOf(reader, info, isCounted, output));
  output.result({ datasets: rows }, () => listText(rows, isCounted));
}

/** Records that `--force` found and left: `krait tune` may read them beside the new ones. */
async function warnOfOthers(folder: string, written: readonly { split: DatasetSplit }[], output: Output) {
  const own = written.map(({ split }) => `${split}.jsonl`);
  const others = (await nodeFiles.list(folder)).filter((name) => name.endsWith('.jsonl') && !own.includes(name));
  if (others.length === 0) return;
  output.warn(`${folder} still holds ${others.join(', ')} from before; remove what does not belong to the new files`);
}

export async function get(name: string, options: GetFlags, output: Output): Promise<void> {
  const info = findDataset(name);
  const split = options.split === undefined ? undefined : findSplit(info, options.split);
  await checkOutputFolder(options.out, { force: options.force });
  const reader = new DatasetReader(new NpmDataSource());
  output.say(`reading ${info.package} ${await reader.version(info.name)}`);
  const { version, files, source } = await writeDataset(reader, info, nodeFiles, options.out, split);
  await warnOfOthers(options.out, files, output);
  const { package: carrier, licence, form } = info;
  output.result({ name: info.name, package: carrier, version, licence, form, out: options.out, files, source }, () => {
    const rows = files.map((file) => [file.path, file.records.toLocaleString('en'), formatBytes(file.bytes)]);
    return [
      table([['file', 'records', 'size'], ...rows]),
      `${form} from ${carrier} ${version}; licence: ${licence}; ${source} says so too`,
    ].join('\n\n');
  });
}
