/** Pages and features to take along: one HTML file that opens from disk and asks nobody for anything. */

import type { JSX } from "preact";
import { useContext, useState } from "preact/hooks";

import type { FeatureRow, FeatureTable, Overview } from "../documents";
import { plural } from "../format";
import { Badge, FeatureName, Finding, addressOf } from "../parts/feature";
import { Data, Load, Trouble, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { usePlace } from "../router";
import { pins } from "../state";

const PAGES: [string, string][] = [
  ["overview", "Overview: network, recordings, dictionaries and their scores"],
  ["features", "Features: tables of those in the file"],
  ["episodes", "Episodes: what was recorded"],
  ["experiments", "Experiments: sweeps, nudges, evaluations, live play"],
  ["correlations", "Correlations: features and metrics"],
];
const USUAL = 8;
const SHOWN = 12;
const MOST = 400;

interface Written {
  path: string;
  download: string;
}

export function Report(): JSX.Element {
  return <Load<Overview> path="overview">{(study) => <Choosing study={study} />}</Load>;
}

function Choosing({ study }: { study: Overview }): JSX.Element {
  const data = useContext(Data);
  const { query } = usePlace();
  const [pages, setPages] = useState(PAGES.map(([page]) => page));
  const [chosen, setChosen] = useState<Set<string> | null>(null);
  const [usual, setUsual] = useState<Record<string, string[]>>({});
  const [isWriting, setWriting] = useState(false);
  const [written, setWritten] = useState<Written | null>(null);
  const [error, setError] = useState<string | null>(null);
  const pinned = pins(query).filter((one): one is string => one !== null);
  const features = chosen ?? new Set([...pinned, ...Object.values(usual).flat()]);
  const known = study.dictionaries.filter((one) => one.has.features);
  const toggle = (address: string): void => {
    const next = new Set(features);
    if (!next.delete(address)) next.add(address);
    setChosen(next);
  };
  const write = async (event: Event): Promise<void> => {
    event.preventDefault();
    setWriting(true);
    setWritten(null);
    try {
      setWritten(await data.send<Written>("POST", "report", { features: [...features], pages }));
      setError(null);
    } catch (failure) {
      setError((failure as Error).message);
    }
    setWriting(false);
  };
  const isTooMuch = features.size > MOST;
  return (
    <form onSubmit={write}>
      <h1>Report</h1>
      <p class="lead">One HTML file with the pages and features chosen here. It opens from disk, without this studio and without a network.</p>
      <div class="grid">
        <Panel title="Pages">
          {PAGES.map(([page, words]) => (
            <label class="choice" key={page}>
              <input type="checkbox" checked={pages.includes(page)} onChange={() => setPages(pages.includes(page) ? pages.filter((one) => one !== page) : PAGES.map(([one]) => one).filter((one) => one === page || pages.includes(one)))} /> {words}
            </label>
          ))}
        </Panel>
        <Panel title="Write it" note="Every feature brings its page, with a picture of each of its moments while there is room.">
          <p>
            {plural(features.size, "feature")}, {plural(pages.length, "page")}.{" "}
            {chosen !== null && (
              <button type="button" onClick={() => setChosen(null)}>
                the usual choice
              </button>
            )}
          </p>
          <button type="submit" disabled={isWriting || isTooMuch || (features.size === 0 && pages.length === 0)}>
            {isWriting ? "Writing …" : "Write the file"}
          </button>
          {isTooMuch && <p class="warning">More than {MOST} features make a file too large to open. Choose fewer.</p>}
          {written && (
            <p role="status">
              Written to <code>{written.path}</code> in the study.{" "}
              <a class="button" href={written.download} download={written.path.split("/").at(-1)}>
                Save a copy
              </a>
            </p>
          )}
          {error && <Trouble error={error} />}
        </Panel>
        {known.length === 0 && <p class="quiet">No dictionary has features yet: policyscope features STUDY DICTIONARY</p>}
        {known.map((one) => (
          <Panel key={one.name} title={one.name}>
            <Choices dictionary={one.name} chosen={features} toggle={toggle} found={(usually) => setUsual((old) => (old[one.name] ? old : { ...old, [one.name]: usually }))} />
          </Panel>
        ))}
      </div>
    </form>
  );
}

/** How much can be said of a feature: what was pinned or confirmed comes first. */
function weight(row: FeatureRow): number {
  const isConfirmed = row.verdict === "helps" || row.verdict === "harms";
  return (isConfirmed ? 4 : 0) + (row.status === "tested" ? 2 : 0) + Math.abs(row.metric?.r ?? 0);
}

function Choices(props: { dictionary: string; chosen: Set<string>; toggle: (address: string) => void; found: (usual: string[]) => void }): JSX.Element {
  const { value, error, again } = useDocument<FeatureTable>(`features/${props.dictionary}`);
  const [isWhole, setWhole] = useState(false);
  if (error) return <Trouble error={error} again={again} />;
  if (!value) return <p class="quiet">Loading …</p>;
  const rows = value.features.filter((row) => !row.dead).sort((a, b) => weight(b) - weight(a));
  const confirmed = rows.filter((row) => row.verdict === "helps" || row.verdict === "harms");
  // Where nothing was confirmed, those that most can be said of.
  queueMicrotask(() => props.found((confirmed.length ? confirmed : rows.slice(0, USUAL)).slice(0, 50).map((row) => addressOf(props.dictionary, row.index))));
  const shown = rows.filter((row, place) => isWhole || place < SHOWN || props.chosen.has(addressOf(props.dictionary, row.index)));
  return (
    <>
      <table>
        <tbody>
          {shown.map((row) => {
            const address = addressOf(props.dictionary, row.index);
            return (
              <tr key={row.index}>
                <td>
                  <input type="checkbox" aria-label={`Take ${address}`} checked={props.chosen.has(address)} onChange={() => props.toggle(address)} />
                </td>
                <td>
                  <FeatureName dictionary={props.dictionary} index={row.index} label={row.label} />
                </td>
                <td>
                  <Badge status={row.status} />
                </td>
                <td>
                  <Finding verdict={row.verdict} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {shown.length < rows.length && (
        <button type="button" onClick={() => setWhole(true)}>
          all {rows.length}
        </button>
      )}
    </>
  );
}
