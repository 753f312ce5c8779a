/** The engine by itself: a small network of two layers learns XOR. Run: npx tsx examples/engine.ts */
import { openDevice } from 'krait';
import { backward, cast, linear, mean, square, sub, type Tensor, tanh } from 'krait/tensor';

const device = await openDevice();
const x = device.from([0, 0, 0, 1, 1, 0, 1, 1], [4, 2]);
const wanted = device.from([0, 1, 1, 0], [4, 1]);

// Weights of [outputs, inputs]; uniform numbers are the same on every device for a seed.
const weight = (shape: number[], stream: number) => device.uniform(shape, { seed: 2, stream }, -1, 1).trainable();
const parameters = [weight([8, 2], 0), weight([8], 1), weight([1, 8], 2), weight([1], 3)];
const [w1, b1, w2, b2] = parameters;

const network = (input: Tensor) => linear(tanh(linear(input, w1, b1)), w2, b2);

const step = (rate: number) => {
  // A scope frees what is made in it; the graph keeps what gradients need until `backward` is done with it.
  const loss = device.scope(() => mean(square(sub(network(x), wanted))));
  backward(loss);
  for (const p of parameters) {
    device.launch('accumulate', { x: p.grad, y: p }, { rows: p.rows, cols: p.cols }, { alpha: -rate });
    p.zeroGrad();
  }
  return loss;
};

for (let i = 0; i <= 500; i++) {
  const loss = step(0.1);
  if (i % 100 === 0) console.log(`step ${i}: loss ${(await loss.item()).toFixed(6)}`);
  loss.dispose();
}
const answers = device.noGrad(() => device.scope(() => cast(network(x), 'f32')));
console.log('answers:', Array.from(await answers.read(), (v) => v.toFixed(2)).join(' '));
device.close();
