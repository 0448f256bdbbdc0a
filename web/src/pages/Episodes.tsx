export function Episodes(_: { recording: string }) { return null; }
