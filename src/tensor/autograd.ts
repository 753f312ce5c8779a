/**
 * Reverse-mode differentiation over the graph that operations leave behind. Each recorded operation keeps
 * aliases of what its rule needs; the backward pass runs rules from the newest node to the oldest and gives
 * that memory back as it goes, so activations are freed while gradients appear.
 */
import { KraitError, type RandomSource, sameShape } from '../core/index.ts';
import type { Edge, History, Tensor } from './tensor.ts';

/**
 * The gradient that other operations have sent to an input so far, where a rule may add its own in that memory: dense, and
 * nobody else's. The rule returns it in place of a fresh one. Null for none.
 */
export type TakeGradient = (input: number) => Tensor | null;

/**
 * Gradients of the outputs (null: nothing arrived) to gradients of the inputs (null: not needed). A rule that
 * passes one gradient on to several inputs returns an alias for each.
 */
export type GradientRule = (
  outputGrads: (Tensor | null)[],
  saved: Tensor[],
  needs: readonly boolean[],
  take: TakeGradient,
) => (Tensor | null)[];

export class GraphNode implements History {
  readonly id: number;
  readonly edges: readonly Edge[];
  private saved: Tensor[] | null;

  constructor(
    readonly op: string,
    inputs: readonly (Tensor | null)[],
    saved: readonly Tensor[],
    readonly outputs: number,
    private readonly rule: GradientRule,
  ) {
    const device = inputs.find((t) => t !== null)!.device;
    this.id = device.newNodeId();
    this.edges = inputs.map((t) => {
      if (!t?.requiresGrad) return null;
      return t.node ? { node: t.node, index: t.outputIndex } : { leaf: t };
    });
    this.saved = saved.map((t) => device.keep(t.alias()));
  }

  get isUsed(): boolean {
    return this.saved === null;
  }

  run(outputGrads: (Tensor | null)[], take: TakeGradient): (Tensor | null)[] {
    return this.rule(
      outputGrads,
      this.saved!,
      this.edges.map((e) => e !== null),
      take,
    );
  }

  release(): void {
    for (const t of this.saved ?? []) t.dispose();
    this.saved = null;
  }
}

/**
 * Connects outputs to inputs. `saved` may contain inputs and outputs; order is the rule's own.
 * Does nothing where gradients are off or no input wants one.
 */
export function record(
  op: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly (Tensor | null)[],
  saved: readonly Tensor[],
  rule: GradientRule,
): void {
  const first = inputs.find((t) => t !== null);
  if (!first?.device.gradEnabled || !inputs.some((t) => t?.requiresGrad)) return;
  const node = new GraphNode(op, inputs, saved, outputs.length, rule);
  outputs.forEach((t, i) => {
    if (!t) return;
    t.node = node;
    t.outputIndex = i;
    t.requiresGrad = true;
  });
}

/**

 * True if `record` would record for these inputs. Otherwise an operation can skip outputs that only gradients need.

 */
export const willRecord = (...inputs: (Tensor | null | undefined)[]): boolean =>
  inputs.some((t) => t?.requiresGrad && t.device.gradEnabled);

/** a += b where a's memory is its own, else a fresh sum. Takes over both. */
function sum(a: Tensor, b: Tensor): Tensor {
  const { device } = a;
  let target = dense(a);
  if (!target.storage.exclusive) {
    target = device.empty(a.shape, a.dtype);
    device.launch('copy', { x: a, y: target }, { rows: a.rows, cols: a.cols });
    a.dispose();
  }
  device.launch('accumulate', { x: b, y: target }, { rows: b.rows, cols: b.cols }, { alpha: 1 });
  b.dispose();
  return target;
}

/** The gradient of a leaf is dense, so that optimisers can walk it. */
function dense(t: Tensor): Tensor {
  if (t.isDense) return t;
  const copy = t.device.empty(t.shape, t.dtype);
  t.device.launch('copy', { x: t, y: copy }, { rows: t.rows, cols: t.cols });
  t.dispose();
  return copy;
}

function reachable(roots: readonly Tensor[]): History[] {
  const seen = new Set<History>();
  const stack = roots.flatMap((t) => (t.node ? [t.node] : []));
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const edge of node.edges) if (edge && 'node' in edge && !seen.has(edge.node)) stack.push(edge.node);
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

/** Runs the rules below `roots` with the given output gradients (taken over) and adds to the leaves' `grad`. */
function propagate(roots: readonly Tensor[], seeds: readonly (Tensor | null)[]): void {
  const { device } = roots[0];
  const pending = new Map<History, (Tensor | null)[]>();
  const deliver = (edge: Edge, gradient: Tensor): void => {
    if (!edge) {
      gradient.dispose();
      return;
    }
    device.keep(gradient);
    if ('leaf' in edge) {
      const { leaf } = edge;
      if (!sameShape(leaf.shape, gradient.shape)) {
        throw new KraitError(`[backward] gradient [${gradient.shape}] does not fit parameter [${leaf.shape}]`);
      }
      leaf.grad = device.keep(leaf.grad ? sum(leaf.grad, gradient) : dense(gradient));
      return;
    }
    let slots = pending.get(edge.node);
    if (!slots) {
      slots = new Array<Tensor | null>(edge.node.outputs).fill(null);
      pending.set(edge.node, slots);
    }
    const before = slots[edge.index];
    slots[edge.index] = device.keep(before ? sum(before, gradient) : gradient);
  };
  const take = (edge: Edge): Tensor | null => {
    if (!edge || 'leaf' in edge) return null;
    const slots = pending.get(edge.node);
    const before = slots?.[edge.index];
    if (!before?.isDense || !before.storage.exclusive) return null;
    slots![edge.index] = null;
    return before;
  };
  roots.forEach((root, i) => {
    const seed = seeds[i];
    if (seed)
      deliver(
        root.node ? { node: root.node, index: root.outputIndex } : root.requiresGrad ? { leaf: root } : null,
        seed,
      );
  });
  for (const node of reachable(roots)) {
    const grads = pending.get(node);
    pending.delete(node);
    if (grads) {
      if (node.isUsed)
        throw new KraitError(
          `[backward] ${node.op}: shared with a graph that was already used; run the forward pass again`,
        );
      const results = device.scope(() => node.run(grads, (input) => take(node.edges[input])));
      for (const g of grads) if (!results.includes(g)) g?.dispose();
      results.forEach((g, i) => {
        if (g) deliver(node.edges[i], g);
      });
    }
    node.release();
  }
}

/**
 * Gradients of a scalar loss, added to `grad` of every trainable leaf below it. Frees the graph.
 * `seed` is the gradient of the loss itself, 1 unless given.
 * @throws KraitError if the loss is not a scalar or nothing trainable is below it.
 */
export function backward(loss: Tensor, seed?: Tensor): void {
  if (loss.size !== 1) throw new KraitError(`[backward] expected a scalar loss, got shape [${loss.shape}]`);
  if (!loss.requiresGrad)
    throw new KraitError('[backward] nothing below the loss is trainable; mark parameters with trainable()');
  if (loss.node?.isUsed)
    throw new KraitError(`[backward] the graph below the loss was already used; run the forward pass again`);
  const { device } = loss;
  device.noGrad(() => propagate([loss], [seed ? seed.alias() : device.full(loss.shape, 1, loss.dtype)]));
}

/** Frees a recorded graph whose backward pass is not wanted. */
export function discardGraph(...roots: Tensor[]): void {
  for (const node of reachable(roots)) node.release();
}

/**
 * Activation checkpointing: runs `work` without keeping what its gradients need and runs it again when the
 * backward pass arrives. Parameters used inside get their gradients as usual. Pass the source of random
 * numbers that `work` draws from, so that the second run draws the same.
 */
export function checkpoint(inputs: Tensor[], work: (...inputs: Tensor[]) => Tensor[], random?: RandomSource): Tensor[] {
  const { device } = inputs[0];
  if (!device.gradEnabled) return work(...inputs);
  const drawn = random && { random, stream: random.stream };
  const outputs = device.noGrad(() => device.scope(() => work(...inputs)));
  const passedOn = outputs.map((t) => (inputs.includes(t) ? t.alias() : t));
  const rule: GradientRule = (grads, saved, needs) => {
    const leaves = saved.map((t, i) => t.alias().trainable(needs[i]));
    const run = () => device.withGrad(() => device.scope(() => work(...leaves)));
    const again = drawn ? atStream(drawn, run) : run();
    propagate(
      again,
      grads.map((g) => g?.alias() ?? null),
    );
    return leaves.map((leaf) => {
      const g = leaf.grad;
      leaf.grad = null;
      if (g) device.adopt(g);
      return g;
    });
  };
  // The node must exist even where only parameters inside `work` are trainable.
  const node = new GraphNode('checkpoint', inputs, inputs, passedOn.length, rule);
  passedOn.forEach((t, i) => {
    t.node = node;
    t.outputIndex = i;
    t.requiresGrad = true;
  });
  return passedOn;
}

/** Random numbers that `work` drew: their source, and its position before. */
export interface Drawn {
  readonly random: RandomSource;
  readonly stream: number;
}

/**
 * Selective recomputation. Frees the memory of y until a gradient reads it. Then `work` computes y again from `inputs`, which
 * are kept until then. Call it for results that are large and cheap, after the last reader in the forward pass. It does
 * nothing if gradients are off or y has none.
 * @param work makes a fresh tensor with the same values in the same layout
 * @param drawn random numbers that `work` draws; it draws the same again
 */
export function recompute<I extends readonly (Tensor | null | undefined)[]>(
  y: Tensor,
  inputs: readonly [...I],
  work: (...inputs: I) => Tensor,
  drawn?: Drawn,
): void {
  const { device } = y;
  if (!device.gradEnabled || !y.requiresGrad) return;
  const kept = inputs.map((t) => t && device.keep(t.alias())) as unknown as I;
  const make = () => device.keep(device.noGrad(() => device.scope(() => work(...kept))));
  y.storage.empty({
    make: () => (drawn ? atStream(drawn, make) : make()),
    dispose() {
      for (const t of kept) t?.dispose();
    },
  });
}

/** Runs `work` with the source at the position that it had before; it draws the same numbers. */
function atStream<T>({ random, stream }: Drawn, work: () => T): T {
  const now = random.stream;
  random.stream = stream;
  try {
    return work();
  } finally {
    random.stream = now;
  }
}
