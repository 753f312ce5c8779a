/** The files of this machine, as commands read and write them. */
import { NodeFileSystem } from '../platform/node/index.ts';

export const nodeFiles = new NodeFileSystem();
