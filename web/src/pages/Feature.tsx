/** One feature: when it fires, what it does, what it goes with, whether that is real, what it is called. */

import type { JSX } from "preact";
import { useContext, useState } from "preact/hooks";

import type { FeaturePage, LabelEntry, Overview, Status, Verdict } from "../documents";
import { number, percent, plural, signed, spoken } from "../format";
import { Dose, Forest, Histogram, Pad } from "../parts/charts";
import { Badge, FeatureName, Finding, Frames, LookFirst, Pin, effectWords } from "../parts/feature";
import { Data, Load, Trouble, useDocument } from "../parts/load";
import { AskModel } from "../parts/model";
import { Panel } from "../parts/panel";
import { Refused } from "../provider";
import { href, ofFeature } from "../router";

export function Feature({ rest }: { rest: string }): JSX.Element {
  const [dictionary, index] = ofFeature(rest);
  return (
    <Load<FeaturePage> path={`feature/${dictionary}/${index}`} help={<LookFirst dictionary={dictionary} />}>
      {(feature, again) => <Page key={feature.address} feature={feature} again={again} />}
    </Load>
  );
}

function Page({ feature, again }: { feature: FeaturePage; again: () => void }): JSX.Element {
  const data = useContext(Data);
  const overview = useDocument<Overview>("overview").value;
  const width = overview?.dictionaries.find((one) => one.name === feature.dictionary)?.width ?? 0;
  const step = (by: number): string => href("f", `${feature.dictionary}/${(feature.index + by + Math.max(1, width)) % Math.max(1, width)}`);
  return (
    <>
      <h1>
        <Pin address={feature.address} /> <a href={href("features", feature.dictionary)}>{feature.dictionary}</a> <small>#{feature.index}</small>{" "}
        <span class="title">{feature.dead ? "never fires" : feature.label}</span> <Badge status={feature.status} />
      </h1>
      <p class="lead">
        Fires in {percent(feature.firing_rate, 1)} of steps, at most {number(feature.max)}, mean {number(feature.mean)} ± {number(feature.std)}.{" "}
        <span class="tools">
          <a class="button" href={step(-1)} title="The feature before">
            ← before
          </a>
          <a class="button" href={step(1)} title="The next feature">
            next →
          </a>
          {data.kind === "server" && (
            <a class="button" href={href("live", feature.dictionary, { steer: feature.index })}>
              steer it live
            </a>
          )}
        </span>
      </p>
      <div class="grid page">
        <When feature={feature} />
        <div class="stack">
          <What feature={feature} overview={overview} />
          <Real feature={feature} />
        </div>
        <div class="stack">
          <Labels feature={feature} again={again} />
          <Who feature={feature} />
          <Neighbours feature={feature} />
        </div>
      </div>
    </>
  );
}

function When({ feature }: { feature: FeaturePage }): JSX.Element {
  return (
    <Panel
      title="When it fires"
      note={`Counts are on a log scale. It fires in ${percent(feature.episodes_with.share)} of ${plural(feature.episodes_with.episodes, "episode")} of ${feature.recording}. Pictures play when you point at them; a click opens the episode. Those not drawn yet: policyscope frames STUDY --episode N.`}
      take={{
        svg: true,
        python: `study.features("${feature.dictionary}")[${feature.index}]`,
        csv: () => [["from", "to", "steps"], ...feature.histogram.counts.map((many, i) => [feature.histogram.edges[i] ?? null, feature.histogram.edges[i + 1] ?? null, many])],
      }}
    >
      <Histogram edges={feature.histogram.edges} counts={feature.histogram.counts} label={`Activations of ${feature.address}`} />
      {feature.intervals.map((group) => (
        <div class="interval-group" key={group.name}>
          <h3>
            {group.name} <small>{group.name === "silent" ? "" : `${number(group.low)} to ${number(group.high)}`}</small>
          </h3>
          <div class="strip">
            {group.moments.map((one) => (
              <figure key={one.moment}>
                <Frames moment={one.moment} around={12} width={92} />
                <figcaption title={Object.entries(one.metrics).map(([name, value]) => `${spoken(name)} ${number(value)}`).join("\n")}>{number(one.activation)}</figcaption>
              </figure>
            ))}
          </div>
        </div>
      ))}
    </Panel>
  );
}

function What({ feature, overview }: { feature: FeaturePage; overview: Overview | null }): JSX.Element {
  const effect = feature.effect;
  const actions = overview?.environment.actions ?? null;
  if (!effect || (!effect.measured.length && !effect.direct.length)) {
    return (
      <Panel title="What it does">
        <p class="quiet">{effect?.reason || "No effect on the actions is known. Run the features command."}</p>
      </Panel>
    );
  }
  const effects = effect.measured.length ? effect.measured : effect.direct;
  const names = effects.map((_, index) => actions?.names[index] ?? String(index));
  const isPad = actions !== null && actions.pad.some(Boolean) && actions.names.length === effects.length;
  return (
    <Panel
      title="What it does"
      note={`Change of ${effect.output || "the output"} of each action when it is steered by its own spread. ● measured over ${plural(effect.states, "recorded state")} of ${plural(effect.episodes, "episode")}, 95 % intervals; ◇ direct, through what follows its direction.`}
      take={{
        svg: true,
        python: `study.features("${feature.dictionary}")[${feature.index}]`,
        csv: () => [["action", "direct", "measured", "low", "high"], ...names.map((name, i) => [name, effect.direct[i] ?? null, effect.measured[i] ?? null, effect.low[i] ?? null, effect.high[i] ?? null])],
      }}
    >
      <p>
        <b>{effectWords(effects, names)}</b>
        {feature.value_effect !== null && `, value ${signed(feature.value_effect)}`}
      </p>
      {isPad && actions && <Pad actions={actions} effects={effects} />}
      <Forest
        label={`Effect of ${feature.address} on ${effect.output}`}
        secondName="direct"
        rows={names.map((name, i) => ({ name, value: effect.measured[i] ?? null, low: effect.low[i] ?? null, high: effect.high[i] ?? null, second: effect.direct[i] ?? null }))}
      />
    </Panel>
  );
}

function Who({ feature }: { feature: FeaturePage }): JSX.Element {
  const rows = [...feature.correlations].sort((a, b) => Math.abs(b.r ?? 0) - Math.abs(a.r ?? 0)).slice(0, 14);
  return (
    <Panel
      title="What it goes with"
      note="Pearson r with 95 % intervals by bootstrap over episodes; hollow where the interval holds zero. A correlation is a lead, not a finding."
      take={{ svg: true, python: `study.correlate("${feature.dictionary}")`, csv: () => [["metric", "r", "low", "high"], ...feature.correlations.map((one) => [one.name, one.r, one.low, one.high])] }}
    >
      {rows.length === 0 ? <p class="quiet">No metric was recorded, or there are fewer than four episodes.</p> : <Forest label={`Correlations of ${feature.address}`} symmetric={1} rows={rows.map((one) => ({ name: one.name, value: one.r, low: one.low, high: one.high }))} />}
    </Panel>
  );
}

function Real({ feature }: { feature: FeaturePage }): JSX.Element {
  const data = useContext(Data);
  return (
    <Panel
      title="Is it real"
      note={feature.dose.length ? `${feature.dose_episodes} paired episodes at each strength; grey: random directions of equal norm; filled: beyond luck, corrected for all settings tried, and beyond random directions.` : ""}
      take={{
        svg: feature.dose.length > 0,
        python: `study.sweep("${feature.dictionary}", features=[${feature.index}])`,
        csv: () => [["alpha", "difference", "low", "high", "p_corrected", "random_low", "random_high", "confirmed"], ...feature.dose.map((p) => [p.alpha, p.difference, p.low, p.high, p.p, p.random_low, p.random_high, String(p.confirmed)])],
      }}
    >
      <p>
        <Finding verdict={feature.verdict} /> <span class="quiet">{MEANING[feature.verdict] && `· ${MEANING[feature.verdict]}`}</span>
      </p>
      {feature.dose.length ? (
        <Dose points={feature.dose} episodes={feature.dose_episodes} />
      ) : (
        <p class="quiet">
          Nobody has steered it yet, so what it causes is not known. {data.canWrite && <a href={href("experiments", "", { sweep: feature.dictionary, feature: feature.index })}>Start a sweep</a>}
        </p>
      )}
    </Panel>
  );
}

const MEANING: Record<Verdict, string> = {
  helps: "At some strength the return rises beyond luck and beyond what random directions do.",
  harms: "At some strength the return falls beyond luck and beyond what random directions do.",
  "nothing shown": "No strength does more than luck, or than random directions of equal norm.",
  "not tested": "",
};

function Neighbours({ feature }: { feature: FeaturePage }): JSX.Element {
  return (
    <Panel
      title="Neighbours"
      note="cos: of the directions. r: of the activations over the recording. Redundant: r of 0.9 or more; same feature: in another size or seed, cosine of 0.7 or more."
      take={{ csv: () => [["address", "label", "why", "cosine", "correlation"], ...feature.neighbours.map((one) => [`${one.dictionary}#${one.index}`, one.label, one.why, one.cosine, one.correlation])] }}
    >
      {feature.neighbours.length === 0 && <p class="quiet">None: no other feature fires with it, and no other dictionary has its direction.</p>}
      <table>
        <tbody>
          {feature.neighbours.map((one) => (
            <tr key={`${one.dictionary}#${one.index}`}>
              <td>
                <FeatureName dictionary={one.dictionary} index={one.index} label={`${one.dictionary === feature.dictionary ? "" : `in ${one.dictionary} · `}${one.label}`} />
              </td>
              <td class="quiet">{one.why}</td>
              <td class="number">{one.cosine === null ? "" : `cos ${signed(one.cosine)}`}</td>
              <td class="number">{one.correlation === null ? "" : `r ${signed(one.correlation)}`}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Labels({ feature, again }: { feature: FeaturePage; again: () => void }): JSX.Element {
  const data = useContext(Data);
  const [text, setText] = useState(feature.label);
  const [status, setStatus] = useState<Status>(feature.status);
  const [error, setError] = useState<string | null>(null);
  const keep = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      await data.send("POST", `labels/${feature.dictionary}/${feature.index}`, { text, status, revision: feature.revision });
      setError(null);
      again();
    } catch (failure) {
      const isOutdated = failure instanceof Refused && failure.status === 409;
      setError(isOutdated ? "Somebody else has changed this label meanwhile. Both are kept; look at the history below." : (failure as Error).message);
      if (isOutdated) again();
    }
  };
  return (
    <Panel
      title="Label"
      note="A label is a guess until a test holds (tested) or fails (refuted). AUROC, precision and recall are measured on episodes that the label was not made from. What a person last said counts, and without that the label with the best F1 there; all are kept."
      take={{ csv: () => [["text", "status", "source", "author", "when", "rule", "auroc", "precision", "recall"], ...[...feature.labels, ...(feature.rule ? [feature.rule] : [])].map((one) => [one.text, one.status, one.source, one.author, one.when, one.rule, one.auroc, one.precision, one.recall])] }}
    >
      {data.canWrite && (
        <form class="labelling" onSubmit={keep}>
          <input aria-label="Label" value={text} maxLength={200} onInput={(event) => setText(event.currentTarget.value)} />
          <select aria-label="Status" value={status} onChange={(event) => setStatus(event.currentTarget.value as Status)}>
            <option value="guess">guess</option>
            <option value="tested">tested</option>
            <option value="refuted">refuted</option>
          </select>
          <button type="submit">Keep</button>
        </form>
      )}
      <AskModel dictionary={feature.dictionary} index={feature.index} done={again} />
      {error && <Trouble error={error} />}
      {feature.labels.toReversed().map((entry, index) => (
        <Entry key={index} entry={entry} />
      ))}
      {feature.rule && <Entry entry={feature.rule} />}
    </Panel>
  );
}

function Entry({ entry }: { entry: LabelEntry }): JSX.Element {
  const scores = [
    entry.auroc === null ? "" : `AUROC ${number(entry.auroc, 2)}`,
    entry.precision === null ? "" : `precision ${number(entry.precision, 2)}`,
    entry.recall === null ? "" : `recall ${number(entry.recall, 2)}`,
    entry.episodes === null ? "" : plural(entry.episodes, "episode"),
  ].filter(Boolean);
  return (
    <div class="entry">
      <Badge status={entry.status} /> {entry.text}
      {entry.rule && <code>{entry.rule}</code>}
      <p class="note">{[entry.source, entry.author, entry.when.slice(0, 16).replace("T", " "), ...scores, entry.note].filter(Boolean).join(" · ")}</p>
    </div>
  );
}
