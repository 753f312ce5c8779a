/** Parquet files of rows, for tests. */
import { type ColumnSource, parquetWriteBuffer } from 'hyparquet-writer';

type BasicType = 'STRING' | 'INT64' | 'JSON';

/** A file with a column for each key of the first row; lists and objects are kept as JSON. */
export function parquetFile(rows: readonly Readonly<Record<string, unknown>>[]): Uint8Array {
  const columnData = Object.keys(rows[0]).map((name): ColumnSource => {
    const values = rows.map((row) => row[name]);
    const [first] = values;
    const type: BasicType = typeof first === 'number' ? 'INT64' : typeof first === 'string' ? 'STRING' : 'JSON';
    const data = type === 'INT64' ? values.map((value) => BigInt(value as number)) : values;
    return { name, data, type };
  });
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}
