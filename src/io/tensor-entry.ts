/** Tensors in device memory as entries of safetensors files. */
import { type DType, dtypeBytes } from '../core/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { STREAM_CHUNK_BYTES } from './safetensors.ts';
import type { TensorEntry } from './safetensors-writer.ts';
import { decodeStored, storedName } from './stored-dtype.ts';

/** A tensor's bytes in another type, a piece at a time. */
async function* bytesOf(tensor: Tensor, to: DType, name: string): AsyncGenerator<Uint8Array> {
  const width = dtypeBytes(tensor.dtype);
  const step = Math.floor(STREAM_CHUNK_BYTES / width);
  for (let at = 0; at < tensor.size; at += step) {
    const count = Math.min(step, tensor.size - at);
    const block = tensor.storage.use();
    const bytes = await tensor.device.backend.download(block, (tensor.offset + at) * width, count * width);
    const raw = decodeStored(storedName(tensor.dtype), bytes, to, name);
    yield new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
  }
}

/** A tensor to be written in `dtype`. It must be dense, as weights are. */
export function tensorEntry(name: string, tensor: Tensor, dtype: DType = tensor.dtype): TensorEntry {
  return { name, dtype: storedName(dtype), shape: tensor.shape, data: () => bytesOf(tensor, dtype, name) };
}
