/**
 * Token sequences by what they begin with, so that what several share is computed once: a radix trie in which a node
 * stands for as many tokens as are shared by the same sequences.
 */

export interface TrieNode {
  /** Tokens between the parent's last token and this node's last token. */
  readonly tokens: readonly number[];
  /** Position of the first of `tokens` in the sequences. */
  readonly start: number;
  /** Numbers of the sequences that go through the node or end in it. */
  readonly sequences: readonly number[];
  readonly children: readonly TrieNode[];
}

function compare(a: readonly number[], b: readonly number[]): number {
  const length = Math.min(a.length, b.length);
  for (let t = 0; t < length; t++) if (a[t] !== b[t]) return a[t] - b[t];
  return a.length - b.length;
}

/** Length of what two sequences begin with, at least `from`. */
function sharedLength(a: readonly number[], b: readonly number[], from: number): number {
  let t = from;
  while (t < a.length && t < b.length && a[t] === b[t]) t++;
  return t;
}

/** A run of the sorted sequences that have all tokens before `shared` in common; those before `start` are computed. */
interface Run {
  readonly members: readonly number[];
  readonly start: number;
  readonly shared: number;
  /** List that receives the nodes. */
  readonly siblings: TrieNode[];
}

/** The runs that go on with the same token at `at`; sequences that end there come first, as one run. */
function branchesAt(sequences: readonly (readonly number[])[], members: readonly number[], at: number): number[][] {
  const branches: number[][] = [];
  let last: number | undefined;
  for (const member of members) {
    const token = sequences[member][at]; // undefined where the sequence ends
    if (branches.length && token === last) branches.at(-1)!.push(member);
    else branches.push([member]);
    last = token;
  }
  return branches;
}

/**
 * The trie of sequences, none of them empty. Each sequence is the tokens along a path from a root; equal ones share
 * their whole path. What saves fewer than `leastSaved` tokens is not shared: each branch reads it for itself. Null for
 * every sequence a root of its own.
 */
export function prefixTrie(sequences: readonly (readonly number[])[], leastSaved: number | null): TrieNode[] {
  const roots: TrieNode[] = [];
  if (leastSaved === null) {
    return sequences.map((tokens, i) => ({ tokens, start: 0, sequences: [i], children: [] }));
  }
  const sorted = sequences.map((_, i) => i).sort((a, b) => compare(sequences[a], sequences[b]));
  const stack: Run[] = branchesAt(sequences, sorted, 0).map((members) => {
    return { members, start: 0, shared: 0, siblings: roots };
  });
  for (let run = stack.pop(); run; run = stack.pop()) {
    const { members, start, siblings } = run;
    const first = sequences[members[0]];
    const end = sharedLength(first, sequences[members.at(-1)!], run.shared); // sorted: shared by all
    const branches = branchesAt(sequences, members, end);
    const isLeaf = sequences[members.at(-1)!].length === end;
    if (isLeaf || (branches.length - 1) * (end - start) >= leastSaved) {
      const children: TrieNode[] = [];
      siblings.push({ tokens: first.slice(start, end), start, sequences: members, children });
      const going = first.length === end ? branches.slice(1) : branches;
      for (const branch of going) stack.push({ members: branch, start: end, shared: end, siblings: children });
    } else for (const branch of branches) stack.push({ members: branch, start, shared: end, siblings });
  }
  return roots;
}
