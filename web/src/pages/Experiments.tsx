/** What was tried and what came of it; new experiments start here, with progress and cancel. */

import type { JSX } from "preact";
import { useContext, useState } from "preact/hooks";

import type { DosePoint, Experiment as Document, Job, Jobs, Known, Overview } from "../documents";
import { number, percent, plural, signed, spoken } from "../format";
import { Dose } from "../parts/charts";
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
      <div class="grid">
        {data.canWrite && <Start />}
        {data.canWrite && <Running />}
        <Load<Overview> path="overview" every={4000}>
          {(study) => (
            <Panel title="Results" wide>
              {study.experiments.length === 0 && <p class="quiet">Nothing was tried yet.</p>}
              <table>
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

function Start(): JSX.Element {
  const data = useContext(Data);
  const { query } = usePlace();
  const study = useDocument<Overview>("overview").value;
  const [verb, setVerb] = useState<"sweep" | "nudge" | "evaluate">("sweep");
  const [dictionary, setDictionary] = useState(query.get("sweep") ?? "");
  const [features, setFeatures] = useState(query.get("feature") ?? "");
  const [alphas, setAlphas] = useState("-2 -1 -0.5 0.5 1 2");
  const [episodes, setEpisodes] = useState(50);
  const [error, setError] = useState<string | null>(null);
  const start = async (event: Event): Promise<void> => {
    event.preventDefault();
    const chosen = dictionary || study?.dictionaries[0]?.name || "";
    const given: Record<string, unknown> = { episodes };
    if (verb !== "evaluate") {
      given["dictionary"] = chosen;
      given["alphas"] = alphas.split(/[\s,]+/).filter(Boolean).map(Number);
      if (features.trim()) given["features"] = features.split(/[\s,]+/).filter(Boolean).map(Number);
    }
    try {
      await data.send<Job>("POST", "jobs", { verb, arguments: given });
      setError(null);
    } catch (failure) {
      setError((failure as Error).message);
    }
  };
  return (
    <Panel title="Start one">
      <form class="start" onSubmit={start}>
        <label>
          what{" "}
          <select value={verb} onChange={(event) => setVerb(event.currentTarget.value as "sweep")}>
            <option value="sweep">sweep: steer features, measure the return</option>
            <option value="nudge">nudge: search for what helps, confirm on fresh seeds</option>
            <option value="evaluate">evaluate: how well the agent does</option>
          </select>
        </label>
        {verb !== "evaluate" && (
          <>
            <label>
              dictionary{" "}
              <select value={dictionary || study?.dictionaries[0]?.name} onChange={(event) => setDictionary(event.currentTarget.value)}>
                {(study?.dictionaries ?? []).map((one) => (
                  <option key={one.name}>{one.name}</option>
                ))}
              </select>
            </label>
            <label>
              features <input value={features} placeholder="all that fire" onInput={(event) => setFeatures(event.currentTarget.value)} />
            </label>
            <label>
              strengths <input value={alphas} onInput={(event) => setAlphas(event.currentTarget.value)} />
            </label>
          </>
        )}
        <label>
          episodes <input type="number" min="2" max="100000" value={episodes} onInput={(event) => setEpisodes(Number(event.currentTarget.value))} />
        </label>
        <button type="submit">Start</button>
      </form>
      {error && <Trouble error={error} />}
    </Panel>
  );
}

function Running(): JSX.Element {
  const data = useContext(Data);
  return (
    <Panel title="Under way">
      <Load<Jobs> path="jobs" every={700}>
        {({ jobs }, again) => (
          <>
            {jobs.length === 0 && <p class="quiet">Nothing is running.</p>}
            {jobs.map((job) => (
              <div class="job" key={job.id}>
                <p>
                  <b>{job.verb}</b> {String(job.arguments["dictionary"] ?? "")} <span class="quiet">{job.state}</span> {job.note}{" "}
                  {(job.state === "running" || job.state === "waiting") && <button onClick={() => data.send("DELETE", `jobs/${job.id}`).then(again, again)}>Cancel</button>}
                  {job.result && <a href={href("x", job.result.replace(/^experiment\//, ""))}>look</a>}
                </p>
                {job.state === "running" && <progress max={job.total ?? undefined} value={job.total ? job.done : undefined} />}
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
  return (
    <>
      <h1>{path}</h1>
      <Load<Document> path={`experiment/${path}`}>
        {(found) => {
          if (Array.isArray(found["conditions"])) return <Sweep found={found as unknown as SweepDocument} />;
          if (Array.isArray(found["candidates"])) return <Nudge found={found as unknown as NudgeDocument} />;
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

function Sweep({ found }: { found: SweepDocument }): JSX.Element {
  const features = [...new Set(found.conditions.map((one) => one.feature))];
  const strongest = (feature: number): number => Math.max(...found.conditions.filter((one) => one.feature === feature).map((one) => (one.confirmed ? 1e9 : 0) + Math.abs(one.difference ?? 0)));
  features.sort((a, b) => strongest(b) - strongest(a));
  const endings = [...new Set([...Object.keys(found.baseline.endings), ...found.conditions.flatMap((one) => Object.keys(one.endings))])];
  return (
    <>
      <p class="lead">
        {plural(found.conditions.length, "setting")} of {found.dictionary}, {found.episodes} paired episodes each. Untouched return {number(found.baseline.return_mean)} [{number(found.baseline.low)}, {number(found.baseline.high)}].
      </p>
      <div class="grid three">
        {features.slice(0, 24).map((feature) => (
          <Panel key={feature} title={`#${feature}`} take={{ svg: true }}>
            <FeatureName dictionary={found.dictionary} index={feature} label="its page" />
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
          csv: () => [
            ["feature", "alpha", "return", "difference", "low", "high", "p_corrected", "random_low", "random_high", "confirmed", ...endings],
            ...found.conditions.map((one) => [one.feature, one.alpha, one.return_mean, one.difference, one.difference_low, one.difference_high, one.p_corrected, one.random_low, one.random_high, String(one.confirmed), ...endings.map((name) => one.endings[name] ?? 0)]),
          ],
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

interface NudgeDocument {
  found: boolean;
  candidates: Record<string, unknown>[];
  confirmed: { feature: number; address?: string; alpha: number; difference: Known; low: Known; high: Known; p_corrected: Known; seeds: number }[];
}

function Nudge({ found }: { found: NudgeDocument }): JSX.Element {
  return (
    <Panel title={found.found ? "Something helps" : "Nothing was shown to help"} wide note="Searched on some seeds, confirmed on others that the search never saw; p corrected by Holm over those kept.">
      <p class="lead">{plural(found.candidates.length, "setting")} tried.</p>
      <table>
        <thead>
          <tr>
            <th>feature</th>
            <th class="number">α</th>
            <th class="number">difference on fresh seeds</th>
            <th class="number">p</th>
          </tr>
        </thead>
        <tbody>
          {found.confirmed.map((one, index) => (
            <tr key={index}>
              <td>{one.address ?? `#${one.feature}`}</td>
              <td class="number">{signed(one.alpha)}</td>
              <td class="number">
                {signed(one.difference, 1)} [{signed(one.low, 1)}, {signed(one.high, 1)}]
              </td>
              <td class="number">{number(one.p_corrected, 2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Plain({ found }: { found: Document }): JSX.Element {
  const rows = Object.entries(found).filter(([, value]) => typeof value !== "object" || value === null);
  const endings = found["endings"] as Record<string, number> | undefined;
  return (
    <Panel title="Result" wide>
      <table>
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
