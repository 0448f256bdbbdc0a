/** Features against metrics: a map of correlations with alike rows side by side; a cell opens the evidence. */

import type { JSX } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";

import type { Correlations as Document, Overview, Scatter } from "../documents";
import { number, plural, signed, spoken } from "../format";
import { scale } from "../parts/charts";
import { Another, FeatureName, Frames, LookFirst } from "../parts/feature";
import { Data, Load, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { asSvg } from "../parts/pen";
import type { Pen } from "../parts/pen";
import { amend, go, href, usePlace } from "../router";
import { useColours } from "../state";

const CELL = { width: 46, height: 22, top: 112 };
/** Room for the names of features, less of it in a narrow window. */
const names = (): number => (window.innerWidth < 700 ? 130 : 300);
const MOMENTS = 6;

export function Correlations({ dictionary }: { dictionary: string }): JSX.Element {
  const study = useDocument<Overview>("overview").value;
  return (
    <>
      <h1>
        Correlations <Another page="corr" dictionary={dictionary} known={study?.dictionaries.map((one) => one.name) ?? []} />
      </h1>
      <Load<Document> path={`correlations/${dictionary}`} help={<LookFirst dictionary={dictionary} />}>{(found) => <Map found={found} />}</Load>
    </>
  );
}

function Map({ found }: { found: Document }): JSX.Element {
  const { query } = usePlace();
  const isFile = useContext(Data).kind === "file";
  const [row, column] = [query.get("feature"), query.get("metric")];
  const chosen = found.features.findIndex((one) => String(one.index) === row);
  const metric = column === null ? -1 : found.metrics.indexOf(column);
  return (
    <>
      <p class="lead">
        Pearson r of {plural(found.features.length, "feature")} with {plural(found.metrics.length, "metric")} over {plural(found.episodes, "episode")} of {found.recording}. A correlation is a lead, not a finding.
      </p>
      <div class="beside">
        <Panel
          title="Map"
          note="Blue: they rise together. Red: one rises as the other falls. Faint with a dot: the 95 % interval holds zero. Alike rows and columns are neighbours. Click a cell, or go there with the arrow keys, to see the evidence below; Enter opens the feature."
          take={{
            svg: () =>
              asSvg(...extent(found), (pen) => {
                drawHead(pen, found);
                drawCells(pen, found, [chosen, metric], CELL.top, true);
              }),
            python: `study.correlate("${found.dictionary}").strongest("${column ?? found.metrics[0] ?? ""}")`,
            csv: () => [["feature", "label", ...found.metrics], ...found.features.map((one, i) => [one.index, one.label, ...(found.r[i] ?? [])])],
          }}
        >
          {found.features.length === 0 || found.metrics.length === 0 ? <p class="quiet">No metric was recorded, or there are fewer than four episodes: policyscope record STUDY</p> : <Heat found={found} chosen={[chosen, metric]} />}
        </Panel>
        {chosen >= 0 && metric >= 0 && row && column && isFile ? (
          <p>
            <FeatureName dictionary={found.dictionary} index={Number(row)} label={found.features[chosen]?.label ?? ""} /> with <b>{spoken(column)}</b>: r {signed(found.r[chosen]?.[metric] ?? null)} [{signed(found.low[chosen]?.[metric] ?? null)}, {signed(found.high[chosen]?.[metric] ?? null)}]. <span class="quiet">The steps behind it are in the studio.</span>
          </p>
        ) : chosen >= 0 && metric >= 0 && row && column ? (
          <Load<Scatter> path={`scatter/${found.dictionary}/${row}/${column}`}>{(dots) => <Evidence found={found} chosen={chosen} metric={metric} dots={dots} />}</Load>
        ) : (
          <p class="quiet">Choose a cell to see the steps and the moments behind it.</p>
        )}
      </div>
    </>
  );
}

function Evidence(props: { found: Document; chosen: number; metric: number; dots: Scatter }): JSX.Element {
  const { found, chosen, metric, dots } = props;
  const [one, name] = [found.features[chosen], found.metrics[metric] ?? ""];
  const [index, label] = [one?.index ?? 0, one?.label ?? ""];
  const ranked = dots.x.map((_, at) => at).sort((a, b) => (dots.y[b] ?? 0) - (dots.y[a] ?? 0));
  const given = useDocument<Overview>("overview").value?.recordings.find((one) => one.name === found.recording)?.units[name];
  const unit = given && given !== "1" ? ` (${given})` : "";
  const strongest = ranked.slice(0, MOMENTS).filter((at) => (dots.y[at] ?? 0) > 0);
  return (
    <Panel
      title="Evidence"
      note={`${plural(dots.x.length, "step")}, evenly over the recording; a click on one opens the episode there.`}
      take={{ svg: true, python: `study.correlate("${found.dictionary}").strongest("${name}")`, csv: () => [["moment", name, "activation"], ...dots.x.map((x, at) => [dots.moments[at] ?? "", x, dots.y[at] ?? null])] }}
    >
      <p>
        <FeatureName dictionary={found.dictionary} index={index} label={label} /> with <b>{spoken(name)}</b>: r {signed(found.r[chosen]?.[metric] ?? null)} [{signed(found.low[chosen]?.[metric] ?? null)}, {signed(found.high[chosen]?.[metric] ?? null)}]
      </p>
      <div class="evidence">
        <Dots dots={dots} metric={name} unit={unit} />
        <div>
          <h3>
            Where it fires most <small>of these steps, with its {spoken(name)}{unit}</small>
          </h3>
          <div class="strip">
            {strongest.map((at) => (
              <figure key={dots.moments[at]}>
                <Frames moment={dots.moments[at] ?? ""} around={12} width={92} />
                <figcaption>
                  {number(dots.x[at])}
                </figcaption>
              </figure>
            ))}
          </div>
        </div>
      </div>
    </Panel>
  );
}

function extent(found: Document): [number, number] {
  return [names() + found.metrics.length * CELL.width + 84, CELL.top + found.features.length * CELL.height + 6];
}

/** Draws the names of the metrics above their columns. */
function drawHead(pen: Pen, found: Document): void {
  const { width, top } = CELL;
  const left = names();
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  found.metrics.forEach((name, index) => {
    pen.save();
    pen.translate(left + index * width + width / 2, top - 6);
    pen.rotate(-Math.PI / 4);
    pen.fillText(cut(spoken(name), 24), 0, 0);
    pen.restore();
  });
}

/** Draws the cells from `top` on; the names of features only where nothing else shows them. */
function drawCells(pen: Pen, found: Document, chosen: [number, number], top: number, hasNames: boolean): void {
  const { width, height } = CELL;
  const left = names();
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink");
  const [up, down] = [style.getPropertyValue("--toward"), style.getPropertyValue("--away")];
  pen.font = "11px system-ui, sans-serif";
  found.features.forEach((one, i) => {
    if (hasNames) {
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.textAlign = "right";
      pen.fillText(cut(`#${one.index} ${one.label}`, 48), left - 6, top + (i + 0.5) * height + 4);
    }
    found.metrics.forEach((_, j) => {
      const r = found.r[i]?.[j] ?? null;
      if (r === null) return;
      const [low, high] = [found.low[i]?.[j] ?? null, found.high[i]?.[j] ?? null];
      const isClear = low !== null && high !== null && low * high > 0;
      pen.globalAlpha = (isClear ? 1 : 0.35) * Math.min(1, 0.06 + Math.abs(r));
      pen.fillStyle = r > 0 ? up : down;
      pen.fillRect(left + j * width + 1, top + i * height + 1, width - 2, height - 2);
      if (!isClear) {
        pen.globalAlpha = 0.5;
        pen.fillStyle = ink;
        pen.fillRect(left + (j + 0.5) * width - 1, top + (i + 0.5) * height - 1, 2, 2);
      } else if (Math.abs(r) >= 0.3) {
        pen.globalAlpha = 1;
        pen.textAlign = "center";
        pen.fillStyle = Math.abs(r) > 0.6 ? style.getPropertyValue("--on") : ink;
        pen.fillText(signed(r, 1), left + (j + 0.5) * width, top + (i + 0.5) * height + 4);
      }
    });
  });
  pen.globalAlpha = 1;
  if (chosen[0] >= 0 && chosen[1] >= 0) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.strokeRect(left + chosen[1] * width, top + chosen[0] * height, width, height);
  }
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** A canvas of a size, drawn on as sharply as the screen allows. */
function prepare(canvas: HTMLCanvasElement | null, wide: number, tall: number, draw: (pen: Pen) => void): void {
  const pen = canvas?.getContext("2d");
  if (!canvas || !pen) return;
  const ratio = Math.min(window.devicePixelRatio || 1, 16000 / Math.max(tall, 1));
  [canvas.width, canvas.height] = [wide * ratio, tall * ratio];
  pen.scale(ratio, ratio);
  draw(pen);
}

function Heat({ found, chosen }: { found: Document; chosen: [number, number] }): JSX.Element {
  const [head, canvas] = [useRef<HTMLCanvasElement>(null), useRef<HTMLCanvasElement>(null)];
  const { width, height, top } = CELL;
  const left = names();
  const [wide, tall] = extent(found);
  const colours = useColours();
  useEffect(() => {
    prepare(head.current, wide, top, (pen) => drawHead(pen, found));
    prepare(canvas.current, wide, tall - top, (pen) => drawCells(pen, found, chosen, 0, false));
    // A link may choose a cell far below.
    const box = canvas.current?.closest(".heat");
    const y = chosen[0] * height;
    if (box && chosen[0] >= 0 && (y < box.scrollTop || y + height + top > box.scrollTop + box.clientHeight)) box.scrollTop = y - box.clientHeight / 2;
  }, [found, chosen[0], chosen[1], colours]);
  const pick = (i: number, j: number): void => {
    const [one, name] = [found.features[i], found.metrics[j]];
    if (one && name) amend({ feature: one.index, metric: name });
  };
  const cellAt = (event: MouseEvent): [number, number] => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / height), Math.floor((event.clientX - box.left - left) / width)];
  };
  return (
    <div class="scroll heat">
      <div style={{ width: `${wide}px`, height: `${tall}px` }}>
        <canvas ref={head} class="head" aria-hidden style={{ width: `${wide}px`, height: `${top}px` }} />
        {found.features.map((one, i) => (
          <span key={one.index} class="row" style={{ top: `${top + i * height}px`, width: `${left - 6}px`, height: `${height}px` }}>
            <FeatureName dictionary={found.dictionary} index={one.index} label={one.label} />
          </span>
        ))}
        <canvas
          ref={canvas}
          class="cells"
          style={{ width: `${wide}px`, height: `${tall - top}px` }}
          tabIndex={0}
          role="application"
          aria-label={`Correlations of ${found.features.length} features with ${found.metrics.length} metrics. Arrow keys choose a cell.`}
          onClick={(event) => pick(...cellAt(event))}
          onMouseMove={(event) => {
            const [i, j] = cellAt(event);
            const [one, name] = [found.features[i], found.metrics[j]];
            event.currentTarget.title = one && name ? `#${one.index} ${one.label}\n${spoken(name)}: r ${signed(found.r[i]?.[j] ?? null)} [${signed(found.low[i]?.[j] ?? null)}, ${signed(found.high[i]?.[j] ?? null)}]` : "";
          }}
          onKeyDown={(event) => {
            const moves: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
            const move = moves[event.key];
            if (move) {
              event.preventDefault();
              if (chosen[0] < 0 || chosen[1] < 0) pick(0, 0);
              else pick(Math.max(0, chosen[0] + move[0]), Math.max(0, chosen[1] + move[1]));
            } else if (event.key === "Enter" && chosen[0] >= 0) {
              go(href("f", `${found.dictionary}/${found.features[chosen[0]]?.index ?? 0}`));
            }
          }}
        />
      </div>
    </div>
  );
}

function Dots({ dots, metric, unit }: { dots: Scatter; metric: string; unit: string }): JSX.Element {
  const [width, height, left, base] = [520, 260, 52, 224];
  const bounds = (values: number[]): [number, number] => [Math.min(...values, 0), Math.max(...values, 0)];
  const x = scale(...(dots.x.length ? [Math.min(...dots.x), Math.max(...dots.x)] : [0, 1]) as [number, number], left, width - 10);
  const y = scale(...bounds(dots.y), base, 10);
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${dots.x.length} steps: activation against ${spoken(metric)}`}>
      {y.ticks.map((tick) => (
        <g key={tick}>
          <line class="grid" x1={left} x2={width - 10} y1={y(tick)} y2={y(tick)} />
          <text class="end" x={left - 5} y={y(tick) + 3.5}>
            {number(tick)}
          </text>
        </g>
      ))}
      {x.ticks.map((tick) => (
        <text key={tick} class="mid" x={x(tick)} y={base + 15}>
          {number(tick)}
        </text>
      ))}
      {dots.x.map((value, index) => {
        const found = /^(.*)\/ep(\d+)@(\d+)$/.exec(dots.moments[index] ?? "");
        return (
          <a key={index} tabIndex={-1} href={found ? href("ep", `${found[1]}/${found[2]}`, { t: found[3] ?? 0 }) : undefined}>
            <circle class="speck" cx={x(value)} cy={y(dots.y[index] ?? 0)} r="2.2">
              <title>{`${dots.moments[index]}: ${spoken(metric)} ${number(value)}, activation ${number(dots.y[index])}`}</title>
            </circle>
          </a>
        );
      })}
      <text class="mid name" x={(left + width) / 2} y={height - 3}>
        {`${spoken(metric)}${unit}`}
      </text>
      <text class="name" x="0" y="9">
        activation
      </text>
    </svg>
  );
}
