/** All features of a dictionary: a table or a gallery, sorted, filtered, and gone through by keys. */

import type { JSX } from "preact";
import { useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Actions, FeaturePage, FeatureRow, FeatureTable, Overview, Status, Verdict } from "../documents";
import { number, percent, plural, signed, spoken } from "../format";
import { Badge, Another, FeatureName, Finding, Frames, LookFirst, Pin, addressOf } from "../parts/feature";
import { Data, Load, Trouble, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { amend, go, href, usePlace } from "../router";
import { togglePin } from "../state";

type Key = "index" | "label" | "firing_rate" | "max" | "metric" | "action" | "value" | "verdict" | "auroc" | "status";
const LINE = 30;
const SHOWN = 26;
/** What a key makes of the label of a feature. */
const TRIAGE: Record<string, Status> = { "1": "guess", "2": "tested", "3": "refuted" };

export function Features({ dictionary }: { dictionary: string }): JSX.Element {
  return (
    <>
      <h1>
        Features <Dictionaries dictionary={dictionary} />
      </h1>
      <Load<FeatureTable> path={`features/${dictionary}`} help={<LookFirst dictionary={dictionary} />}>{(table, again) => <Listing table={table} again={again} />}</Load>
    </>
  );
}

/** Which dictionary's features: every page of one has this beside its title. */
function Dictionaries({ dictionary }: { dictionary: string }): JSX.Element {
  const study = useDocument<Overview>("overview").value;
  return <Another page="features" dictionary={dictionary} known={study?.dictionaries.map((one) => one.name) ?? []} />;
}

function Listing({ table, again }: { table: FeatureTable; again: () => void }): JSX.Element {
  const data = useContext(Data);
  const [error, setError] = useState<string | null>(null);
  const { query } = usePlace();
  const overview = useDocument<Overview>("overview").value;
  const sort = (query.get("sort") ?? "index") as Key;
  const isDown = query.get("down") === "1";
  const asked = query.get("q") ?? "";
  const rows = useMemo(() => chosen(table.features, query, sort, isDown), [table, query.toString()]);
  const [at, setAt] = useState(0);
  const view = query.get("view") ?? "table";
  const search = useRef<HTMLInputElement>(null);
  const dead = table.features.filter((row) => row.dead).length;

  /** Keeps the label as it is, with another status. */
  const judge = async (row: FeatureRow, status: Status): Promise<void> => {
    try {
      const { revision, label } = await data.get<FeaturePage>(`feature/${table.dictionary}/${row.index}`);
      await data.send("POST", `labels/${table.dictionary}/${row.index}`, { text: label || `feature ${row.index}`, status, revision });
      setError(null);
    } catch (failure) {
      setError((failure as Error).message);
    }
    again();
  };
  useEffect(() => setAt((now) => Math.min(now, Math.max(0, rows.length - 1))), [rows]);
  // At once, so that the next key finds what this one has changed.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
      const row = rows[at];
      if (event.key === "j" || event.key === "ArrowDown") setAt(Math.min(rows.length - 1, at + 1));
      else if (event.key === "k" || event.key === "ArrowUp") setAt(Math.max(0, at - 1));
      else if (event.key === "p" && row) togglePin(addressOf(table.dictionary, row.index));
      else if (event.key === "Enter" && row && target.tagName !== "A" && target.tagName !== "BUTTON") {
        go(href("f", `${table.dictionary}/${row.index}`));
      } else if (event.key === "/") search.current?.focus();
      else if (event.key === "l" && row && data.canWrite) go(href("f", `${table.dictionary}/${row.index}`, { panel: "label" }));
      else if (event.key in TRIAGE && row && !row.dead && data.canWrite) void judge(row, TRIAGE[event.key] as Status);
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [rows, at, table]);

  return (
    <>
      <p class="lead">
        {plural(table.features.length, "feature")}, {percent(dead / Math.max(1, table.features.length))} never fire, described from {plural(table.steps, "step")} in {plural(table.episodes, "episode")} of {table.recording}.
      </p>
      <div class="facets" role="search">
        <input ref={search} type="search" placeholder="Search labels and metrics  ( / )" aria-label="Search labels and metrics" value={asked} onInput={(event) => amend({ q: event.currentTarget.value })} />
        <Choice name="alive" known={["alive", "dead"]} all="alive and dead" />
        <Choice name="labelled" known={["by a person", "by a rule", "by a model", "not at all"]} all="labelled or not" />
        <Choice name="status" known={["guess", "tested", "refuted"]} all="any status" />
        <Choice name="verdict" known={["helps", "harms", "nothing shown", "not tested"]} all="any effect on the return" />
        <Choice name="metric" known={table.metrics} all="any metric" />
        <button aria-pressed={view === "gallery"} onClick={() => amend({ view: view === "gallery" ? null : "gallery" })}>
          {view === "gallery" ? "table" : "gallery"}
        </button>
        <span class="quiet" role="status">
          {rows.length} of {table.features.length}
        </span>
        {FACETS.some((name) => query.get(name)) && (
          <button onClick={() => amend(Object.fromEntries(FACETS.map((name) => [name, null])))}>show all</button>
        )}
      </div>
      {error && <Trouble error={error} />}
      <Panel
        title={view === "gallery" ? "Gallery" : "Table"}
        wide
        id="features"
        note={`Keys: j and k move, Enter opens, p pins, / searches${data.canWrite ? ", l labels, 1 2 3 call the label a guess, tested, refuted" : ""}. AUROC: of the label on held-out episodes, 1 best, 0.5 chance. Fires: share of steps. Goes with: Pearson r with 95 % interval over episodes. Pushes: change of the action’s logit or value. Return: what steering it did to the return.`}
        take={{
          python: `table = study.features("${table.dictionary}")\ntable[${rows[0]?.index ?? 0}]`,
          csv: () => [
            ["index", "label", "status", "dead", "firing_rate", "max", "mean", "auroc", "metric", "r", "low", "high", "verdict"],
            ...rows.map((row) => [row.index, row.label, row.status, String(row.dead), row.firing_rate, row.max, row.mean, row.auroc, row.metric?.name ?? null, row.metric?.r ?? null, row.metric?.low ?? null, row.metric?.high ?? null, row.verdict]),
          ],
        }}
      >
        {rows.length === 0 && <p class="quiet">No feature is like that.</p>}
        {view === "gallery" ? (
          <Gallery rows={rows} dictionary={table.dictionary} at={at} />
        ) : (
          <Table rows={rows} table={table} actions={overview?.environment.actions ?? null} at={at} setAt={setAt} sort={sort} isDown={isDown} />
        )}
      </Panel>
    </>
  );
}

const FACETS = ["q", "alive", "labelled", "status", "verdict", "metric"];

/** Who called a feature what it is called. */
function labeller(row: FeatureRow): string {
  if (!row.label || row.dead) return "not at all";
  // A rule that has no score says why there is none.
  if (row.source.startsWith("rule") || row.source === "") return row.auroc === null ? "not at all" : "by a rule";
  return /llm|model/.test(row.source) ? "by a model" : "by a person";
}

function Choice(props: { name: string; known: string[]; all: string }): JSX.Element {
  const { query } = usePlace();
  return (
    <select aria-label={props.all} value={query.get(props.name) ?? ""} onChange={(event) => amend({ [props.name]: event.currentTarget.value || null })}>
      <option value="">{props.all}</option>
      {props.known.map((one) => (
        <option key={one} value={one}>
          {spoken(one)}
        </option>
      ))}
    </select>
  );
}

function chosen(features: FeatureRow[], query: URLSearchParams, sort: Key, isDown: boolean): FeatureRow[] {
  const asked = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const [alive, labelled, status, verdict, metric] = ["alive", "labelled", "status", "verdict", "metric"].map((name) => query.get(name));
  const found = features.filter((row) => {
    const text = `#${row.index} ${row.label} ${spoken(row.metric?.name ?? "")} ${row.metric?.name ?? ""}`.toLowerCase();
    return (
      asked.every((word) => text.includes(word)) &&
      (!alive || (alive === "dead") === row.dead) &&
      (!labelled || labeller(row) === labelled) &&
      (!status || row.status === (status as Status)) &&
      (!verdict || row.verdict === (verdict as Verdict)) &&
      (!metric || row.metric?.name === metric)
    );
  });
  const order: Record<Verdict, number> = { helps: 3, harms: 2, "nothing shown": 1, "not tested": 0 };
  const of = (row: FeatureRow): number | string => {
    switch (sort) {
      case "label":
        return row.label;
      case "status":
        return row.status;
      case "metric":
        return Math.abs(row.metric?.r ?? 0);
      case "action":
        return Math.abs(row.action?.effect ?? 0);
      case "value":
        return Math.abs(row.value_effect ?? 0);
      case "verdict":
        return order[row.verdict];
      default:
        return row[sort] ?? -Infinity;
    }
  };
  const sign = isDown ? -1 : 1;
  return found.sort((a, b) => {
    const [one, other] = [of(a), of(b)];
    return one === other ? a.index - b.index : one < other ? -sign : sign;
  });
}

function Table(props: {
  rows: FeatureRow[];
  table: FeatureTable;
  actions: Actions | null;
  at: number;
  setAt: (at: number) => void;
  sort: Key;
  isDown: boolean;
}): JSX.Element {
  const { rows, table, actions, at, sort, isDown } = props;
  const box = useRef<HTMLDivElement>(null);
  const [first, setFirst] = useState(0);
  useEffect(() => {
    const found = box.current;
    if (!found) return;
    const [top, bottom] = [at * LINE, (at + 1) * LINE];
    if (top < found.scrollTop) found.scrollTop = top;
    else if (bottom > found.scrollTop + found.clientHeight - LINE) found.scrollTop = bottom - found.clientHeight + LINE;
  }, [at]);
  const head = (key: Key, said: string, isNumber = false): JSX.Element => (
    <th class={isNumber ? "number" : ""} aria-sort={sort === key ? (isDown ? "descending" : "ascending") : "none"}>
      <button onClick={() => amend(sort === key ? { down: isDown ? null : "1" } : { sort: key, down: isNumber && key !== "index" ? "1" : null })}>
        {said}
        {sort === key ? (isDown ? " ▾" : " ▴") : ""}
      </button>
    </th>
  );
  const last = Math.min(rows.length, first + SHOWN + 10);
  // An agent without a critic has no value to push.
  const hasValue = table.features.some((row) => row.value_effect !== null);
  return (
    <div ref={box} class="virtual" style={{ height: `${Math.min(rows.length, SHOWN) * LINE + LINE + 4}px` }} onScroll={(event) => setFirst(Math.max(0, Math.floor(event.currentTarget.scrollTop / LINE) - 5))}>
      <table class="features">
        <thead>
          <tr>
            <th />
            {head("index", "#", true)}
            {head("label", "label")}
            {head("auroc", "AUROC", true)}
            {head("status", "status")}
            {head("firing_rate", "fires", true)}
            {head("max", "max", true)}
            {head("metric", "goes with")}
            {head("action", "pushes")}
            {hasValue && head("value", "value", true)}
            {head("verdict", "return")}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr style={{ height: `${first * LINE}px` }} />}
          {rows.slice(first, last).map((row, offset) => (
            <tr key={row.index} class={`${first + offset === at ? "at" : ""}${row.dead ? " dead" : ""}`} onClick={() => props.setAt(first + offset)}>
              <td>
                <Pin address={addressOf(table.dictionary, row.index)} />
              </td>
              <td class="number">
                <FeatureName dictionary={table.dictionary} index={row.index} brief />
              </td>
              <td class={`label${labeller(row) === "not at all" ? " quiet" : ""}`} title={row.label}>
                {row.dead ? "never fires" : row.label}
              </td>
              <td class="number">{number(row.auroc, 2)}</td>
              <td>{labeller(row) !== "not at all" && <Badge status={row.status} />}</td>
              <td class="number">{percent(row.firing_rate, 1)}</td>
              <td class="number">{number(row.max)}</td>
              <td>{row.metric && `${spoken(row.metric.name)} ${signed(row.metric.r)} [${signed(row.metric.low)}, ${signed(row.metric.high)}]`}</td>
              <td>{row.action && row.action.effect !== null && `${(row.action.effect ?? 0) > 0 ? "→" : "↛"} ${actions?.names[row.action.index] ?? row.action.index} ${signed(row.action.effect)}`}</td>
              {hasValue && <td class="number">{signed(row.value_effect)}</td>}
              <td>
                <Finding verdict={row.verdict} />
              </td>
            </tr>
          ))}
          {last < rows.length && <tr style={{ height: `${(rows.length - last) * LINE}px` }} />}
        </tbody>
      </table>
    </div>
  );
}

function Gallery({ rows, dictionary, at }: { rows: FeatureRow[]; dictionary: string; at: number }): JSX.Element {
  const [many, setMany] = useState(48);
  return (
    <>
      <div class="gallery">
        {rows.slice(0, many).map((row, index) => (
          <figure key={row.index} class={index === at ? "at" : ""}>
            {row.thumb ? <Frames moment={row.thumb} around={12} /> : <span class="none">no picture</span>}
            <figcaption class="pinnable">
              <Pin address={addressOf(dictionary, row.index)} />
              <FeatureName dictionary={dictionary} index={row.index} label={row.dead ? "never fires" : row.label} />
            </figcaption>
          </figure>
        ))}
      </div>
      {many < rows.length && <button onClick={() => setMany(many + 96)}>Show {Math.min(96, rows.length - many)} more</button>}
    </>
  );
}
