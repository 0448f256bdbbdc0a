export function Live(_: { dictionary: string }) { return null; }
