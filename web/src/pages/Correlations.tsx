export function Correlations(_: { dictionary: string }) { return null; }
