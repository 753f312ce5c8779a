/** Numbers as reports print them: in few digits, and as ticks of a logarithmic axis. */

const SUPERSCRIPTS: Record<string, string> = { '-': '⁻', ...Object.fromEntries([...'⁰¹²³⁴⁵⁶⁷⁸⁹'].entries()) };

/** Powers of ten as they are written, `10⁻³`; what is near 1 as it is. */
export function logTick(value: number): string {
  const power = Math.log10(value);
  if (value > 0.0009 && value <= 1000) return String(Number(value.toPrecision(2)));
  const mantissa = value / 10 ** Math.floor(power + 1e-9);
  const head = mantissa > 1.01 ? `${Number(mantissa.toPrecision(2))}·` : '';
  return `${head}10${[...String(Math.floor(power + 1e-9))].map((c) => SUPERSCRIPTS[c]).join('')}`;
}

/** Ticks of a logarithmic axis: powers of ten where it spans many, 2 and 5 between them where it spans few. */
export function logTicks(values: readonly number[], most = 9): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const first = Math.floor(Math.log10(low));
  const decades = Math.log10(high) - Math.log10(low);
  const steps = decades < 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / most));
  const ticks: number[] = [];
  for (let power = first; power <= Math.log10(high); power += every) {
    for (const step of steps) ticks.push(step * 10 ** power);
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

/** A number in few digits, for tables: at most `digits` that count. */
export function formatNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) {
    return value === Number.POSITIVE_INFINITY ? '∞' : value === Number.NEGATIVE_INFINITY ? '−∞' : '–';
  }
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}
