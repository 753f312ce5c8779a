/** onnxruntime-web as a contestant: every shape in each round. */
import { type OnnxProduct, openOnnxProduct } from '../rivals/onnxruntime-web.ts';
import { type Contestant, serve } from '../suite/serve.ts';
import { type ProductShape, productFlops } from './product.ts';

export interface OnnxOptions {
  readonly threads: number;
  readonly shapes: readonly ProductShape[];
  /** Time that a shape gets in a round, about. */
  readonly seconds: number;
}

async function open({ threads, shapes, seconds }: OnnxOptions): Promise<Contestant> {
  const products: { product: OnnxProduct; repeats: number }[] = [];
  for (const shape of shapes) {
    const product = await openOnnxProduct(shape, threads);
    const once = Math.min(await product.seconds(2), await product.seconds(2));
    products.push({ product, repeats: Math.max(1, Math.round(seconds / once)) });
  }
  const round = async () => {
    const rates: number[] = [];
    for (const [i, { product, repeats }] of products.entries()) {
      rates.push(productFlops(shapes[i]) / (await product.seconds(repeats)));
    }
    return { rates };
  };
  return {
    about: { program: products[0].product.description, shapes },
    requests: { round },
    close: async () => {
      for (const { product } of products) await product.close();
      process.exit(0); // its threads stay otherwise
    },
  };
}

await serve(open);
