/** Opens what a command works with, a device or a model, and prints what opening has to say. */
import type { DownloadProgress } from '../io/index.ts';
import * as open from '../krait/open.ts';
import type { Device } from '../tensor/index.ts';
import { type CommonOptions, type ModelOptions, storageOf } from './options.ts';
import type { Output, Progress } from './output.ts';

/** A bar for each file of a model that is downloaded. */
class Downloads {
  private bar: Progress | null = null;
  private file = '';

  constructor(private readonly output: Output) {}

  readonly onDownload = ({ file, receivedBytes, totalBytes }: DownloadProgress): void => {
    if (file !== this.file) {
      this.stop();
      this.file = file;
      this.bar = totalBytes ? this.output.progress(file.slice(-12), totalBytes) : null;
    }
    this.bar?.update(receivedBytes);
  };

  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }
}

/** Local folder of a model, fetched from the hub if it is an id. */
export async function modelFolder(options: { model: string; revision?: string }, output: Output): Promise<string> {
  const downloads = new Downloads(output);
  const { onDownload } = downloads;
  try {
    return await open.locateModel(options.model, {
      revision: options.revision,
      onWarning: (line) => output.warn(line),
      onDownload,
    });
  } finally {
    downloads.stop();
  }
}

/** Opens the device that the options ask for and says which it is, once there is something to say about the work. */
export function openDevice(
  { device, threads }: Pick<CommonOptions, 'device' | 'threads'>,
  output: Output,
): Promise<Device> {
  return open.openDevice({ device, threads, onDevice: (_, reason) => output.defer(`device: ${reason}`) });
}

/** Options of opening a model besides the flags. */
type Settings = Pick<open.OpenOptions, 'dtype' | 'activations' | 'on'>;

async function opened<T>(
  { device, threads, dtype, model, revision, adapter }: ModelOptions,
  output: Output,
  settings: Settings,
  how: (name: string, options: open.OpenOptions) => Promise<T>,
): Promise<T> {
  const folder = await modelFolder({ model, revision }, output);
  return how(folder, {
    device,
    threads,
    adapter,
    dtype: storageOf(dtype),
    ...settings,
    onWarning: (line) => output.warn(line),
    onDevice: (_, reason) => output.defer(`device: ${reason}`),
  });
}

/** Opens the model that the options name, with its adapter if there is one, and its tokenizer. */
export const openModel = (options: ModelOptions, output: Output, settings: Settings = {}): Promise<open.OpenedModel> =>
  opened(options, output, settings, open.openModel);

/** As `openModel`, without the tokenizer. */
export const openWeights = (
  options: ModelOptions,
  output: Output,
  settings: Settings = {},
): Promise<open.OpenedWeights> => opened(options, output, settings, open.openWeights);
