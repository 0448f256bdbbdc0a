export function Experiments() { return null; }
export function Experiment(_: { path: string }) { return null; }
