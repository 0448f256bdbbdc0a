/** What was tried and what came of it; new experiments start here, with progress and cancel. */

import type { JSX } from "preact";
import { useContext, useState } from "preact/hooks";

import type { DosePoint, Experiment as Document, FeatureTable, Job, Jobs, Known, Overview } from "../documents";
import { count, number, percent, plural, signed, spoken } from "../format";
import { Dose, Forest } from "../parts/charts";
import { FeatureName } from "../parts/feature";
import { Data, Load, Trouble, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { href, usePlace } from "../router";

export function Experiments(): JSX.Element {
  const data = useContext(Data);
  return (
    <>
      <h1>Experiments</h1>
      <p class="lead">A claim carries its interval, its control and its sample size: paired seeds, a correction for all settings tried, and random directions of equal norm.</p>
      <div class="grid two">
        {data.canWrite && <Start />}
        {data.canWrite && <Running />}
        <Load<Overview> path="overview" every={4000}>
          {(study) => (
            <Panel title="Results" wide take={{ csv: () => [["path", "kind", "summary"], ...study.experiments.map((one) => [one.path, one.kind, one.summary])] }}>
              {study.experiments.length === 0 && <p class="quiet">Nothing was tried yet. Start a sweep above, or play live and keep what you did.</p>}
              <table>
                {study.experiments.length > 0 && (
                  <thead>
                    <tr>
                      <th>where</th>
                      <th>what</th>
                      <th>what came of it</th>
                    </tr>
                  </thead>
                )}
                <tbody>
                  {study.experiments.map((one) => (
                    <tr key={one.path}>
                      <td>
                        <a href={href("x", one.path)}>{one.path}</a>
                      </td>
                      <td>{one.kind}</td>
                      <td>{one.summary}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Panel>
          )}
        </Load>
      </div>
    </>
  );
}

type Verb = "sweep" | "nudge" | "evaluate" | "features" | "score";
const VERBS: Record<Verb, string> = {
  sweep: "sweep: steer features, measure the return",
  nudge: "nudge: search for what helps, confirm on fresh seeds",
  evaluate: "evaluate: how well the agent does",
  features: "features: when each fires, what it goes with, a label",
  score: "score: how faithful the dictionary is",
};
/** What is played is asked for in episodes, of which a run of each takes this many if not told. */
const EPISODES: Partial<Record<Verb, number>> = { sweep: 50, nudge: 50, evaluate: 100, score: 50 };

function Start(): JSX.Element {
  const data = useContext(Data);
  const { query } = usePlace();
  const study = useDocument<Overview>("overview").value;
  const [verb, setVerb] = useState<Verb>((query.get("verb") as Verb | null) ?? "sweep");
  const [dictionary, setDictionary] = useState(query.get("sweep") ?? "");
  const [features, setFeatures] = useState(query.get("feature") ?? "");
  const [alphas, setAlphas] = useState("-2 -1 -0.5 0.5 1 2");
  const [episodes, setEpisodes] = useState<number | null>(null);
  const [error, setError] = useState<string | null>(null);
  const known = study?.dictionaries.map((one) => one.name) ?? [];
  const chosen = dictionary || known[0] || "";
  const steers = verb === "sweep" || verb === "nudge";
  const plays = EPISODES[verb];
  const start = async (event: Event): Promise<void> => {
    event.preventDefault();
    const given: Record<string, unknown> = {};
    if (plays) given["episodes"] = episodes ?? plays;
    if (verb !== "evaluate") given["dictionary"] = chosen;
    const strengths = alphas.split(/[\s,;]+/).filter(Boolean);
    const numbers = features.split(/[\s,;#]+/).filter(Boolean);
    const strange = [...(steers ? [...strengths.filter((one) => !Number.isFinite(Number(one))), ...numbers.filter((one) => !/^\d+$/.test(one))] : [])];
    if (strange.length) {
      setError(`${strange.map((one) => `“${one}”`).join(", ")} is no number. Strengths are as −1 0.5 2, features as 3 17.`);
      return;
    }
    if (steers) {
      given["alphas"] = strengths.map(Number);
      if (numbers.length) given["features"] = numbers.map(Number);
    }
    try {
      await data.send<Job>("POST", "jobs", { verb, arguments: given });
      setError(null);
    } catch (failure) {
      setError((failure as Error).message);
    }
  };
  return (
    <Panel title="Start one" note={steers ? "A strength is how many times the feature’s direction is added to the activation; negative pushes the other way. Random directions of equal norm are played beside it." : "It runs in a process of its own; the studio stays free."}>
      <form class="start" onSubmit={start}>
        <label>
          <span>what</span>
          <select value={verb} onChange={(event) => setVerb(event.currentTarget.value as Verb)}>
            {Object.entries(VERBS).map(([name, words]) => (
              <option key={name} value={name}>
                {words}
              </option>
            ))}
          </select>
        </label>
        {verb !== "evaluate" && (
          <label>
            <span>dictionary</span>
            <select value={chosen} onChange={(event) => setDictionary(event.currentTarget.value)}>
              {known.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        )}
        {steers && (
          <>
            <label>
              <span>features</span>
              <input value={features} placeholder="numbers; empty: all that fire" onInput={(event) => setFeatures(event.currentTarget.value)} />
            </label>
            <label>
              <span>strengths</span>
              <input value={alphas} onInput={(event) => setAlphas(event.currentTarget.value)} />
            </label>
          </>
        )}
        {plays && (
          <label>
            <span>episodes</span>
            <input type="number" min="2" max="100000" value={episodes ?? plays} onInput={(event) => setEpisodes(Number(event.currentTarget.value))} />
          </label>
        )}
        <button type="submit" disabled={verb !== "evaluate" && !chosen}>
          Start
        </button>
        {verb !== "evaluate" && !chosen && <p class="quiet">The study has no dictionary yet; the overview says how to fit one.</p>}
      </form>
      {error && <Trouble error={error} />}
    </Panel>
  );
}

/** Where a result is to be seen. */
function placeOf(result: string): string {
  if (result.startsWith("experiment/")) return href("x", result.slice("experiment/".length));
  if (result.startsWith("features/")) return href("features", result.slice("features/".length));
  return href("");
}

const STATES: Record<Job["state"], string> = { waiting: "waits its turn", running: "runs", done: "is done", failed: "failed", cancelled: "was cancelled" };

function Running(): JSX.Element {
  const data = useContext(Data);
  return (
    <Panel title="Under way" note="One at a time, in the order in which they were asked for.">
      <Load<Jobs> path="jobs" every={700}>
        {({ jobs }, again) => (
          <>
            {jobs.length === 0 && <p class="quiet">Nothing was started here yet.</p>}
            {jobs.map((job) => (
              <div class="job" key={job.id} data-state={job.state}>
                <p>
                  <b>{job.verb}</b> {String(job.arguments["dictionary"] ?? "")} <span class={`state ${job.state}`}>{STATES[job.state]}</span>{" "}
                  {(job.state === "running" || job.state === "waiting") && (
                    <button aria-label={`Cancel ${job.verb}`} onClick={() => data.send("DELETE", `jobs/${job.id}`).then(again, again)}>
                      Cancel
                    </button>
                  )}
                  {job.result && <a href={placeOf(job.result)}>look</a>}
                </p>
                {job.state === "running" && (
                  <>
                    <progress aria-label={`Progress of ${job.verb}`} max={job.total ?? undefined} value={job.total ? job.done : undefined} />
                    <p class="note">
                      {job.note}
                      {job.total ? ` · ${count(job.done)} of ${count(job.total)}` : ""}
                    </p>
                  </>
                )}
                {job.error && <Trouble error={job.error} />}
              </div>
            ))}
          </>
        )}
      </Load>
    </Panel>
  );
}

export function Experiment({ path }: { path: string }): JSX.Element {
  const found = /^(?:(.*)\/)?(sweep|nudge|evaluate)$/.exec(path) ?? [];
  return (
    <>
      <h1>
        {found[2] ? `${found[2][0]?.toUpperCase()}${found[2].slice(1)}` : "Experiment"} <small>{found[1] ?? path}</small>
      </h1>
      <Load<Document> path={`experiment/${path}`}>
        {(found) => {
          if (Array.isArray(found["conditions"])) return <Sweep found={found as unknown as SweepDocument} />;
          if (Array.isArray(found["candidates"])) return <Nudge found={found as unknown as NudgeDocument} />;
          if (found["kind"] === "live") return <Played found={found as unknown as LiveDocument} />;
          return <Plain found={found} />;
        }}
      </Load>
    </>
  );
}

interface Condition extends DosePoint {
  feature: number;
  return_mean: number;
  difference_low: Known;
  difference_high: Known;
  p_corrected: Known;
  action_agreement?: Known;
}

interface SweepDocument {
  dictionary: string;
  episodes: number;
  baseline: { return_mean: number; low: Known; high: Known; endings: Record<string, number> };
  conditions: Condition[];
}

function conditionRows(conditions: Condition[], endings: string[]): (string | number | null)[][] {
  return [
    ["feature", "alpha", "return", "difference", "low", "high", "p_corrected", "random_low", "random_high", "confirmed", ...endings],
    ...conditions.map((one) => [one.feature, one.alpha, one.return_mean, one.difference, one.difference_low, one.difference_high, one.p_corrected, one.random_low, one.random_high, String(one.confirmed), ...endings.map((name) => one.endings[name] ?? 0)]),
  ];
}

function Sweep({ found }: { found: SweepDocument }): JSX.Element {
  const features = [...new Set(found.conditions.map((one) => one.feature))];
  const strongest = (feature: number): number => Math.max(...found.conditions.filter((one) => one.feature === feature).map((one) => (one.confirmed ? 1e9 : 0) + Math.abs(one.difference ?? 0)));
  features.sort((a, b) => strongest(b) - strongest(a));
  const table = useDocument<FeatureTable>(`features/${found.dictionary}`).value;
  const labels = new Map((table?.features ?? []).map((row) => [row.index, row.label]));
  const endings = [...new Set([...Object.keys(found.baseline.endings), ...found.conditions.flatMap((one) => Object.keys(one.endings))])];
  return (
    <>
      <p class="lead">
        {plural(found.conditions.length, "setting")} of {found.dictionary}, {found.episodes} paired episodes each. Untouched return {number(found.baseline.return_mean)} [{number(found.baseline.low)}, {number(found.baseline.high)}]. <b>{found.conditions.filter((one) => one.confirmed).length}</b> beyond luck and random directions (filled dots); the grey band is what random directions of equal norm do.
      </p>
      <div class="grid three">
        {features.slice(0, 24).map((feature) => (
          <Panel
            key={feature}
            id={`feature-${feature}`}
            title={`#${feature}`}
            head={<FeatureName dictionary={found.dictionary} index={feature} label={labels.get(feature) ?? ""} />}
            take={{
              svg: true,
              python: `study.sweep("${found.dictionary}", features=[${feature}], alphas=[${found.conditions.filter((one) => one.feature === feature).map((one) => one.alpha).join(", ")}], episodes=${found.episodes})`,
              csv: () => conditionRows(found.conditions.filter((one) => one.feature === feature), endings),
            }}
          >
            <Dose
              episodes={found.episodes}
              points={found.conditions.filter((one) => one.feature === feature).map((one) => ({ ...one, low: one.difference_low, high: one.difference_high, p: one.p_corrected }))}
            />
          </Panel>
        ))}
      </div>
      <Panel
        title="All settings"
        wide
        note="p is paired and corrected over the table (Benjamini–Hochberg); ● beyond luck and beyond random directions (max-T)."
        take={{
          python: `study.sweep("${found.dictionary}", episodes=${found.episodes})`,
          csv: () => conditionRows(found.conditions, endings),
        }}
      >
        <p class="legend" aria-label="How episodes end, by colour">
          {endings.map((name, index) => (
            <span key={name}>
              <i class={`swatch p${index % 8}`} />
              {spoken(name)}
            </span>
          ))}
        </p>
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>feature</th>
                <th class="number">α</th>
                <th class="number">return</th>
                <th class="number">difference</th>
                <th class="number">p</th>
                <th class="number">random directions</th>
                <th>how episodes end</th>
              </tr>
            </thead>
            <tbody>
              <tr>
                <td class="quiet">untouched</td>
                <td />
                <td class="number">{number(found.baseline.return_mean)}</td>
                <td />
                <td />
                <td />
                <td>
                  <Endings counts={found.baseline.endings} names={endings} />
                </td>
              </tr>
              {found.conditions.map((one) => (
                <tr key={`${one.feature}@${one.alpha}`}>
                  <td>
                    <FeatureName dictionary={found.dictionary} index={one.feature} />
                  </td>
                  <td class="number">{signed(one.alpha)}</td>
                  <td class="number">{number(one.return_mean)}</td>
                  <td class="number">
                    {one.confirmed && "● "}
                    {signed(one.difference, 1)} [{signed(one.difference_low, 1)}, {signed(one.difference_high, 1)}]
                  </td>
                  <td class="number">{number(one.p_corrected, 2)}</td>
                  <td class="number">
                    [{signed(one.random_low, 1)}, {signed(one.random_high, 1)}]
                  </td>
                  <td>
                    <Endings counts={one.endings} names={endings} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </>
  );
}

function Endings({ counts, names }: { counts: Record<string, number>; names: string[] }): JSX.Element {
  const total = Math.max(1, Object.values(counts).reduce((a, b) => a + b, 0));
  const said = names.filter((name) => counts[name]).map((name) => `${spoken(name)} ${counts[name]}`);
  return (
    <span class="endings" title={said.join(", ")} role="img" aria-label={said.join(", ")}>
      {names.map((name, index) => (counts[name] ? <i key={name} class={`p${index % 8}`} style={{ width: `${(100 * (counts[name] ?? 0)) / total}%` }} /> : null))}
    </span>
  );
}

interface Tried {
  feature: number;
  address: string;
  alpha: number;
  rank: number;
  difference: Known;
  low: Known;
  high: Known;
}

interface Trial extends Tried {
  p_corrected: Known;
  search_difference: Known;
  random_as_good: Known;
  random_directions: Known;
  holds: boolean;
}

interface NudgeDocument {
  found: boolean;
  verdict: string;
  search_seeds: number;
  confirm_seeds: number;
  luck: Known;
  candidates: Tried[];
  trials: Trial[];
}

const BEST = 20;

function Nudge({ found }: { found: NudgeDocument }): JSX.Element {
  const best = [...found.candidates].sort((a, b) => a.rank - b.rank).slice(0, BEST);
  const most = Math.max(1e-9, ...best.flatMap((one) => [one.low, one.high]).map((one) => Math.abs(one ?? 0)));
  return (
    <>
      <p class="lead">{found.verdict}</p>
      <div class="stack">
        <Panel
          title="Confirmed on fresh seeds"
          note={`${plural(found.trials.length, "setting")} of ${found.candidates.length} looked good enough to be played again on ${found.confirm_seeds} seeds that the search never saw. p is corrected for all that were played again (Holm). The last column says how many random directions of equal norm did as much.`}
          take={{ csv: () => [["address", "alpha", "difference", "low", "high", "p_corrected", "search_difference", "random_as_good", "random_directions", "holds"], ...found.trials.map((one) => [one.address, one.alpha, one.difference, one.low, one.high, one.p_corrected, one.search_difference, one.random_as_good, one.random_directions, String(one.holds)])] }}
        >
          {found.trials.length === 0 && <p class="quiet">No setting looked better than the untouched agent, so none was played again.</p>}
          {found.trials.length > 0 && (
            <div class="scroll">
              <table>
                <thead>
                  <tr>
                    <th>feature</th>
                    <th class="number">strength α</th>
                    <th class="number">in the search</th>
                    <th class="number">on fresh seeds</th>
                    <th class="number">p</th>
                    <th>holds</th>
                    <th class="number">random directions as good</th>
                  </tr>
                </thead>
                <tbody>
                  {found.trials.map((one) => (
                    <tr key={one.rank}>
                      <td>
                        <Addressed address={one.address} />
                      </td>
                      <td class="number">{signed(one.alpha)}</td>
                      <td class="number">{signed(one.search_difference, 1)}</td>
                      <td class="number">
                        {signed(one.difference, 1)} [{signed(one.low, 1)}, {signed(one.high, 1)}]
                      </td>
                      <td class="number">{number(one.p_corrected, 2)}</td>
                      <td>{one.holds ? "● yes" : "○ no"}</td>
                      <td class="number">{one.random_directions === null ? "not asked" : `${number(one.random_as_good)} of ${one.random_directions}`}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </Panel>
        <Panel
          title="Searched"
          note={`Change of the return on ${found.search_seeds} paired search seeds, with 95 % intervals, by their lower bound${found.candidates.length > BEST ? `; the best ${BEST} of ${found.candidates.length}` : ""}.${found.luck === null ? "" : ` The best of as many settings that do nothing looks as sure in ${percent(found.luck)} of searches.`}`}
          take={{ svg: true, csv: () => [["address", "alpha", "rank", "difference", "low", "high"], ...found.candidates.map((one) => [one.address, one.alpha, one.rank, one.difference, one.low, one.high])] }}
        >
          <Forest label="Change of the return in the search" symmetric={most} digits={1} rows={best.map((one) => ({ name: `${one.address} ${signed(one.alpha, 1)}`, value: one.difference, low: one.low, high: one.high }))} />
        </Panel>
      </div>
    </>
  );
}

function Addressed({ address }: { address: string }): JSX.Element {
  const cut = address.lastIndexOf("#");
  return (
    <>
      <span class="quiet">{address.slice(0, cut)}</span> <FeatureName dictionary={address.slice(0, cut)} index={Number(address.slice(cut + 1))} />
    </>
  );
}

interface LiveDocument {
  dictionary: string;
  environment: string;
  seed: number;
  deterministic: boolean;
  steps: number;
  edits: { step: number; edits: { feature: number; kind: string; value: number; unit: number }[] }[];
  branches: number[];
  held: number[];
  return: { agent: Known; twin: Known };
  ending: { agent: string | null; twin: string | null };
  diverged: number | null;
  max_from: string;
}

/** What was done live, and what came of it beside the twin. */
function Played({ found }: { found: LiveDocument }): JSX.Element {
  const both: [string, Known, string | null][] = [
    ["agent, as edited", found.return.agent, found.ending.agent],
    ["twin, untouched", found.return.twin, found.ending.twin],
  ];
  return (
    <>
      <p class="lead">
        {plural(found.steps, "step")} of {found.environment}, seed {found.seed}, actions {found.deterministic ? "the likeliest" : "drawn"}. {found.diverged === null ? "Agent and twin did the same throughout." : `They part at step ${found.diverged}.`} One episode is an example, not evidence: a sweep is.
      </p>
      <div class="grid">
        <Panel title="Result" take={{ csv: () => [["who", "return", "ending"], ...both] }}>
          <table>
            <thead>
              <tr>
                <th>who</th>
                <th class="number">return</th>
                <th>ending</th>
              </tr>
            </thead>
            <tbody>
              {both.map(([who, total, ending]) => (
                <tr key={who}>
                  <td>{who}</td>
                  <td class="number">{number(total, 4)}</td>
                  <td>{ending ? spoken(ending) : <span class="quiet">not over</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {found.held.length > 0 && <p>{plural(found.held.length, "step")} were played by hand.</p>}
          {found.branches.length > 0 && <p>The twin was made a copy of the agent at step {found.branches.join(", ")}.</p>}
          <p>
            <a class="button" href={href("live", found.dictionary, { seed: found.seed || null, sampled: found.deterministic ? null : 1 })}>
              play this seed again
            </a>
          </p>
        </Panel>
        <Panel title="Edits" note={`Steer and clamp count in units of the feature’s own maximum, from ${found.max_from}.`} take={{ csv: () => [["step", "feature", "kind", "value", "unit"], ...found.edits.flatMap((one) => one.edits.map((edit) => [one.step, edit.feature, edit.kind, edit.value, edit.unit]))] }}>
          {found.edits.length === 0 && <p class="quiet">Nothing was edited.</p>}
          <table>
            <tbody>
              {found.edits.map((one, index) => (
                <tr key={index}>
                  <td class="number">from step {one.step}</td>
                  <td>
                    {one.edits.length === 0 && <span class="quiet">let go of all</span>}
                    {one.edits.map((edit) => (
                      <div key={edit.feature}>
                        <FeatureName dictionary={found.dictionary} index={edit.feature} /> {edit.kind === "ablate" ? "off" : `${edit.kind} ${edit.kind === "steer" ? signed(edit.value) : number(edit.value)}`}
                      </div>
                    ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Panel>
      </div>
    </>
  );
}

function Plain({ found }: { found: Document }): JSX.Element {
  const rows = Object.entries(found).filter(([, value]) => typeof value !== "object" || value === null);
  const endings = found["endings"] as Record<string, number> | undefined;
  return (
    <Panel title="Result" wide take={{ csv: () => [["what", "value"], ...rows.map(([name, value]): [string, string | number | null] => [name, typeof value === "number" ? value : String(value)])] }}>
      <table class="facts-table">
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <th>{spoken(name)}</th>
              <td>{typeof value === "number" ? number(value, 5) : String(value)}</td>
            </tr>
          ))}
          {Object.entries(endings ?? {}).map(([name, many]) => (
            <tr key={name}>
              <th>ended: {spoken(name)}</th>
              <td>
                {many} ({percent(many / Object.values(endings ?? {}).reduce((a, b) => a + b, 0))})
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}
