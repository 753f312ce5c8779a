/**
 * Matrix products of onnxruntime-web (WASM, SIMD and threads) in Node: a model of one MatMul whose right operand is a
 * constant, as the weights of a layer are, so that it may pack it beforehand.
 */
import type { ProductShape } from '../lanes/product.ts';

/** The little of onnxruntime-web that is used; it is not installed where types are checked. */
interface Session {
  run(feeds: Record<string, unknown>): Promise<unknown>;
  release(): Promise<void>;
}
interface Library {
  readonly env: { readonly versions: { readonly web?: string }; readonly wasm: { numThreads?: number } };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => unknown;
}

const FLOAT = 1; // TensorProto.DataType
const IR_VERSION = 8;
const OPSET = 17;

/** An unsigned number in the base-128 form of protocol buffers. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) + 128);
  }
}

const number = (field: number, value: number): Buffer => Buffer.from([...varint(field << 3), ...varint(value)]);
const block = (field: number, ...parts: Uint8Array[]): Buffer => {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(bytes.length)]), bytes]);
};
const text = (field: number, value: string): Buffer => block(field, Buffer.from(value));

/** ValueInfoProto of an f32 matrix. */
function valueInfo(field: number, name: string, dims: readonly number[]): Buffer {
  const shape = block(2, ...dims.map((dim) => block(1, number(1, dim))));
  return block(field, text(1, name), block(2, block(1, number(1, FLOAT), shape)));
}

/** An ONNX file: y[m, n] = x[m, k] w[k, n]. Field numbers are those of onnx.proto. */
export function productModel({ m, n, k }: ProductShape, weights: Float32Array): Uint8Array {
  const node = block(1, text(1, 'x'), text(1, 'w'), text(2, 'y'), text(4, 'MatMul'));
  const raw = new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength);
  const constant = block(5, number(1, k), number(1, n), number(2, FLOAT), text(8, 'w'), block(9, raw));
  const graph = block(7, node, text(2, 'product'), constant, valueInfo(11, 'x', [m, k]), valueInfo(12, 'y', [m, n]));
  return Buffer.concat([number(1, IR_VERSION), graph, block(8, number(2, OPSET))]);
}

async function load(): Promise<Library> {
  const name: string = 'onnxruntime-web';
  try {
    return (await import(name)) as Library;
  } catch (error) {
    throw new Error(`${name} cannot be loaded; run npm install --prefix bench --ignore-scripts`, { cause: error });
  }
}

export interface OnnxProduct {
  readonly description: string;
  /** Seconds that one of `repeats` products takes. */
  seconds(repeats: number): Promise<number>;
  close(): Promise<void>;
}

/** @throws Error if it is not installed */
export async function openOnnxProduct(shape: ProductShape, threads: number): Promise<OnnxProduct> {
  const { env, InferenceSession, Tensor } = await load();
  env.wasm.numThreads = threads;
  const model = productModel(shape, new Float32Array(shape.k * shape.n).fill(0.5));
  const session = await InferenceSession.create(model, { executionProviders: ['wasm'] });
  const x = new Tensor('float32', new Float32Array(shape.m * shape.k).fill(0.5), [shape.m, shape.k]);
  return {
    description: `onnxruntime-web ${env.versions.web}, wasm, ${env.wasm.numThreads} threads`,
    seconds: async (repeats) => {
      const startedMs = performance.now();
      for (let i = 0; i < repeats; i++) await session.run({ x });
      return (performance.now() - startedMs) / 1000 / repeats;
    },
    close: () => session.release(),
  };
}
