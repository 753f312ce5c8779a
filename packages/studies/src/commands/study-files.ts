/** The three files that a study leaves. */
import { join } from 'node:path';
import { nodeFiles } from 'krait/cli';

/** Paths of what was written. */
export interface StudyFiles {
  readonly json: string;
  readonly csv: string;
  readonly report: string;
}

/** Writes `NAME.json`, `NAME.csv` and `report.html`, each whole or not at all. */
export async function writeStudy(
  folder: string,
  name: string,
  { document, csv, page }: { readonly document: unknown; readonly csv: string; readonly page: string },
): Promise<StudyFiles> {
  const paths = {
    json: join(folder, `${name}.json`),
    csv: join(folder, `${name}.csv`),
    report: join(folder, 'report.html'),
  };
  await nodeFiles.writeAtomic(paths.json, `${JSON.stringify(document, null, 1)}\n`);
  await nodeFiles.writeAtomic(paths.csv, csv);
  await nodeFiles.writeAtomic(paths.report, page);
  return paths;
}
