/** The model that the package carries. */
import { fileURLToPath } from 'node:url';

/** Folder of the small Mamba of 2.8M parameters that `krait` carries (models/base). */
export const baseModel = (): string => fileURLToPath(new URL('../../models/base', import.meta.url));
