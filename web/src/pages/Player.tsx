export function Player(_: { rest: string }) { return null; }
