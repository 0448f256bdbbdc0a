/** The documents of a study, by path: what `policyscope.studies.views` answers and the pages show.
 *
 * A number that is not known is null. Paths are relative to the provider (server, inlined file or
 * notebook): `overview`, `dictionary/layer2/k4`, `features/layer2/k4`, `feature/layer2/k4/17`, …
 */

export type Known = number | null;

export interface Interval {
  value: Known;
  low: Known;
  high: Known;
}

/** `overview` */
export interface Overview {
  name: string;
  version: string;
  agent: { name: string; algorithm: string | null; parameters: number; is_safe: boolean };
  environment: { id: string; observation: string; actions: Actions };
  modules: Module[];
  recordings: RecordingRow[];
  dictionaries: DictionaryRow[];
  experiments: ExperimentRow[];
  evaluation: { return_mean: Known; low: Known; high: Known; episodes: number; endings: Record<string, number> } | null;
  next: { why: string; command: string }[];
}

/** How actions are called and, where they are directions, where they lie on a pad. */
export interface Actions {
  kind: "discrete" | "continuous";
  names: string[];
  /** [column, row] of each action on a pad of 3 × 3, or null where it is no direction. */
  pad: ([number, number] | null)[];
}

export interface Module {
  path: string;
  type: string;
  depth: number;
  parameters: number;
  role: string;
  sites: { address: string; shape: number[]; recorded: boolean; suggested: boolean }[];
}

export interface RecordingRow {
  name: string;
  steps: number;
  episodes: number;
  return_mean: Known;
  sites: string[];
  metrics: string[];
  /** Of metrics and other columns that have one, as {"pole_angle": "rad"}. */
  units: Record<string, string>;
  frames: number;
}

export interface DictionaryRow {
  name: string;
  kind: string;
  choices: Record<string, number | string | boolean>;
  reads: string;
  writes: string;
  width: number;
  recording: string;
  unexplained: Known;
  l0: Known;
  dead: Known;
  return_kept: Interval | null;
  action_agreement: Known;
  warnings: string[];
  has: { features: boolean; score: boolean; sweep: boolean; nudge: boolean };
}

export interface ExperimentRow {
  /** Below `experiment/`, as `layer2/k4/sweep`. */
  path: string;
  kind: "evaluate" | "sweep" | "nudge" | "live";
  dictionary: string | null;
  summary: string;
}

/** `dictionary/NAME` */
export interface DictionaryPage extends DictionaryRow {
  score: Record<string, unknown> | null;
  curves: Record<string, Known[]> | null;
  sizes: Record<string, unknown> | null;
  seeds: number[];
  density: Known[];
}

/** `features/NAME` */
export interface FeatureTable {
  dictionary: string;
  recording: string;
  steps: number;
  episodes: number;
  metrics: string[];
  features: FeatureRow[];
}

export interface FeatureRow {
  index: number;
  label: string;
  status: Status;
  source: string;
  dead: boolean;
  firing_rate: number;
  max: number;
  mean: number;
  auroc: Known;
  metric: { name: string; r: Known; low: Known; high: Known } | null;
  /** The action it pushes towards most, and how much (measured, else direct). */
  action: { index: number; effect: Known } | null;
  value_effect: Known;
  verdict: Verdict;
  thumb: string | null;
}

export type Status = "guess" | "tested" | "refuted";
/** Whether steering it does more to the return than luck and random directions. */
export type Verdict = "helps" | "harms" | "nothing shown" | "not tested";

/** `feature/NAME/INDEX` */
export interface FeaturePage extends FeatureRow {
  dictionary: string;
  address: string;
  recording: string;
  std: number;
  histogram: { edges: number[]; counts: number[] };
  /** Groups of moments by strength: "max", "90 %", "50 %", "10 %", "near threshold", "silent". */
  intervals: { name: string; low: number; high: number; moments: MomentRow[] }[];
  episodes_with: { share: Known; episodes: number };
  correlations: { name: string; r: Known; low: Known; high: Known }[];
  effect: {
    output: string;
    direct: Known[];
    measured: Known[];
    low: Known[];
    high: Known[];
    states: number;
    episodes: number;
    reason: string;
  } | null;
  dose: DosePoint[];
  dose_episodes: number;
  neighbours: {
    dictionary: string;
    index: number;
    label: string;
    why: "redundant" | "co-firing" | "same feature" | "opposite";
    cosine: Known;
    correlation: Known;
  }[];
  rule: LabelEntry | null;
  labels: LabelEntry[];
  /** Of the label history; sent back with a new label, so that no edit is lost. */
  revision: number;
}

export interface MomentRow {
  /** Address, as `main/ep12@340`. */
  moment: string;
  activation: number;
  metrics: Record<string, Known>;
}

export interface DosePoint {
  alpha: number;
  difference: Known;
  low: Known;
  high: Known;
  p: Known;
  random_low: Known;
  random_high: Known;
  confirmed: boolean;
  endings: Record<string, number>;
}

export interface LabelEntry {
  text: string;
  rule: string;
  status: Status;
  source: string;
  author: string;
  when: string;
  precision: Known;
  recall: Known;
  auroc: Known;
  episodes: Known;
  note: string;
}

/** `episodes/RECORDING` */
export interface EpisodeTable {
  recording: string;
  episodes: {
    index: number;
    seed: number;
    length: number;
    return: number;
    ending: string;
    /** Whether it ended within the recording; if not, its length and return are so far. */
    ended: boolean;
    frames: number;
  }[];
}

/** `episode/RECORDING/INDEX?dictionary=NAME&features=1,2` */
export interface EpisodePage {
  recording: string;
  index: number;
  seed: number;
  length: number;
  return: number;
  ending: string;
  actions: Actions;
  /** One value per step. `action` is an index for choices; continuous ones have `action[i]`. */
  lanes: Record<string, Known[]>;
  /** Names of `lanes` in groups: reward and return, value and entropy, actions, metrics. */
  groups: { name: string; lanes: string[] }[];
  events: { name: string; steps: [number, number][] }[];
  /** Codes of the features asked for, by address. */
  features: Record<string, number[]>;
  clip: Clip | null;
}

/** Frames of steps, in sheets: `sheet/…` paths answer image/webp. */
export interface Clip {
  width: number;
  height: number;
  /** Step of each frame, ascending. */
  steps: number[];
  sheets: { path: string; first: number; count: number; columns: number }[];
}

/** `clip/RECORDING/EPISODE?from=A&to=B` answers a Clip, or null where there are no frames. */

/** `window/RECORDING/EPISODE?dictionary=NAME&from=A&to=B` */
export interface Window {
  /** Features whose mean in the window differs most from the recording's, in its deviations. */
  features: { index: number; label: string; inside: number; outside: number; score: number }[];
  steps: number;
}

/** `experiment/PATH`: the kept document of a sweep, nudge, evaluation or live session. */
export type Experiment = Record<string, unknown>;

/** `correlations/NAME` */
export interface Correlations {
  dictionary: string;
  recording: string;
  metrics: string[];
  /** Features that fire, ordered so that alike rows are neighbours; metrics likewise. */
  features: { index: number; label: string }[];
  r: Known[][];
  low: Known[][];
  high: Known[][];
  episodes: number;
}

/** `scatter/NAME/INDEX/METRIC` */
export interface Scatter {
  x: number[];
  y: number[];
  moments: string[];
  r: Known;
}

/** `compare?dictionaries=A,B` */
export interface CompareDictionaries {
  rows: DictionaryPage[];
  /** Of the first dictionary's living features: the best match in the second. */
  matches: { first: number; second: number; cosine: Known; correlation: Known }[];
  found_again: Known;
}

/** `jobs` */
export interface Jobs {
  jobs: Job[];
}

export interface Job {
  id: string;
  verb: string;
  arguments: Record<string, unknown>;
  state: "waiting" | "running" | "done" | "failed" | "cancelled";
  done: number;
  total: number | null;
  note: string;
  error: string | null;
  /** Path of the result, as `experiment/layer2/k4/sweep`. */
  result: string | null;
}

/** `model`: the language model that the studio was started with; null where there is none. */
export interface Model {
  name: string | null;
  server: string | null;
}

/** What went wrong, as every path answers it with its status. */
export interface Failure {
  error: string;
}
