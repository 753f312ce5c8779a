import { describeFileSystem } from '../../io/testing/file-system-contract.ts';
import { BlobFileSystem } from './files.ts';

describeFileSystem('blobs', async () => ({ files: new BlobFileSystem([['work/other', 'x']]), folder: 'work/here' }));
