/** Every kernel's cases. A kernel of the table without a row here is a type error. */
import type { KernelName } from '../../kernels.ts';
import { attentionCases } from './attention.ts';
import type { CaseTable } from './case.ts';
import { convCases } from './causal-conv.ts';
import { elementwiseCases } from './elementwise.ts';
import { lossCases } from './loss.ts';
import { matmulCases } from './matmul.ts';
import { normCases } from './norm.ts';
import { reduceCases } from './reduce.ts';
import { scanCases } from './selective-scan.ts';

export const CASES: CaseTable<KernelName> = {
  ...elementwiseCases,
  ...reduceCases,
  ...matmulCases,
  ...normCases,
  ...convCases,
  ...scanCases,
  ...attentionCases,
  ...lossCases,
};

export type { ContractCase } from './case.ts';
