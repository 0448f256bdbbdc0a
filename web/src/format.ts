/** Numbers and words as the pages say them. */

import type { Interval, Known } from "./documents";

const UNKNOWN = "–";

export function number(value: Known | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  const said =
    size !== 0 && (size < 1e-3 || size >= 1e6)
      ? value.toExponential(Math.max(0, digits - 1))
      : Number(value.toPrecision(digits)).toString();
  return said.replace("-", "−");
}

export function signed(value: Known | undefined, digits = 2): string {
  if (value === null || value === undefined) return UNKNOWN;
  const said = value.toFixed(digits).replace("-", "−");
  return value > 0 ? `+${said}` : said;
}

export function percent(value: Known | undefined, digits = 0): string {
  if (value === null || value === undefined) return UNKNOWN;
  const scaled = 100 * value;
  // A share that is not nothing is not said to be nothing.
  const needed = scaled > 0 && scaled < 0.5 * 10 ** -digits ? 2 : digits;
  return `${scaled.toFixed(needed)} %`.replace("-", "−");
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

export function interval(one: { low: Known; high: Known } | null, digits = 2): string {
  if (!one || one.low === null || one.high === null) return "";
  return `[${signed(one.low, digits)}, ${signed(one.high, digits)}]`;
}

export function kept(one: Interval | null): string {
  if (!one || one.value === null) return UNKNOWN;
  const span = one.low === null || one.high === null ? "" : ` [${percent(one.low)}, ${percent(one.high)}]`;
  return percent(one.value) + span;
}

/** `pole_angle` as "pole angle". */
export function spoken(name: string): string {
  return name.replaceAll("_", " ");
}

export function plural(many: number, one: string): string {
  return `${count(many)} ${one}${many === 1 ? "" : "s"}`;
}
