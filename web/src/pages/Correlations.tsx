/** Features against metrics: a map of correlations with alike rows side by side; a cell opens the evidence. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { Correlations as Document, Scatter } from "../documents";
import { number, plural, signed, spoken } from "../format";
import { scale } from "../parts/charts";
import { FeatureName } from "../parts/feature";
import { Load } from "../parts/load";
import { Panel } from "../parts/panel";
import { amend, href, usePlace } from "../router";

const CELL = { width: 46, height: 15, left: 250, top: 112 };

export function Correlations({ dictionary }: { dictionary: string }): JSX.Element {
  return (
    <Load<Document> path={`correlations/${dictionary}`}>
      {(found) => <Map found={found} />}
    </Load>
  );
}

function Map({ found }: { found: Document }): JSX.Element {
  const { query } = usePlace();
  const [row, column] = [query.get("feature"), query.get("metric")];
  const chosen = found.features.findIndex((one) => String(one.index) === row);
  const metric = column === null ? -1 : found.metrics.indexOf(column);
  return (
    <>
      <h1>
        Correlations <small>{found.dictionary}</small>
      </h1>
      <p class="lead">
        Pearson r of {plural(found.features.length, "feature")} with {plural(found.metrics.length, "metric")} over {plural(found.episodes, "episode")} of {found.recording}. A correlation is a lead, not a finding.
      </p>
      <div class="grid">
        <Panel
          title="Map"
          wide
          note="Blue goes up together, red one up and the other down; pale with a dot where the 95 % interval holds zero. Alike rows and columns are neighbours. Arrow keys move, Enter opens the feature."
          take={{
            python: `study.correlate("${found.dictionary}").strongest("${found.metrics[0] ?? ""}")`,
            csv: () => [["feature", "label", ...found.metrics], ...found.features.map((one, i) => [one.index, one.label, ...(found.r[i] ?? [])])],
          }}
        >
          <Heat found={found} chosen={[chosen, metric]} />
        </Panel>
        {chosen >= 0 && metric >= 0 && row && column && (
          <Panel title="Evidence" wide note="Each dot is a recorded step, drawn evenly; a click opens the episode there.">
            <p>
              <FeatureName dictionary={found.dictionary} index={Number(row)} label={found.features[chosen]?.label ?? ""} /> with {spoken(column)}: r {signed(found.r[chosen]?.[metric] ?? null)} [{signed(found.low[chosen]?.[metric] ?? null)}, {signed(found.high[chosen]?.[metric] ?? null)}]
            </p>
            <Load<Scatter> path={`scatter/${found.dictionary}/${row}/${column}`}>{(dots) => <Dots dots={dots} metric={column} />}</Load>
          </Panel>
        )}
      </div>
    </>
  );
}

function Heat({ found, chosen }: { found: Document; chosen: [number, number] }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height, left, top } = CELL;
  const [wide, tall] = [left + found.metrics.length * width + 84, top + found.features.length * height + 6];
  useEffect(() => {
    const target = canvas.current;
    const pen = target?.getContext("2d");
    if (!target || !pen) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 16000 / Math.max(tall, 1));
    [target.width, target.height] = [wide * ratio, tall * ratio];
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    const colours = { up: style.getPropertyValue("--toward"), down: style.getPropertyValue("--away") };
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = ink;
    found.metrics.forEach((name, index) => {
      pen.save();
      pen.translate(left + index * width + width / 2, top - 6);
      pen.rotate(-Math.PI / 4);
      pen.fillText(spoken(name).slice(0, 24), 0, 0);
      pen.restore();
    });
    found.features.forEach((one, i) => {
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.textAlign = "right";
      pen.fillText(`#${one.index} ${one.label}`.slice(0, 42), left - 6, top + (i + 0.75) * height);
      found.metrics.forEach((_, j) => {
        const r = found.r[i]?.[j] ?? null;
        if (r === null) return;
        const [low, high] = [found.low[i]?.[j] ?? null, found.high[i]?.[j] ?? null];
        const isClear = low !== null && high !== null && low * high > 0;
        pen.globalAlpha = (isClear ? 1 : 0.35) * Math.min(1, 0.06 + Math.abs(r));
        pen.fillStyle = r > 0 ? colours.up : colours.down;
        pen.fillRect(left + j * width + 1, top + i * height + 1, width - 2, height - 2);
        if (!isClear && height > 8) {
          pen.globalAlpha = 0.5;
          pen.fillStyle = ink;
          pen.fillRect(left + (j + 0.5) * width - 1, top + (i + 0.5) * height - 1, 2, 2);
        }
      });
    });
    pen.globalAlpha = 1;
    if (chosen[0] >= 0 && chosen[1] >= 0) {
      pen.strokeStyle = ink;
      pen.strokeRect(left + chosen[1] * width, top + chosen[0] * height, width, height);
    }
  }, [found, chosen[0], chosen[1]]);
  const pick = (i: number, j: number): void => {
    const [one, name] = [found.features[i], found.metrics[j]];
    if (one && name) amend({ feature: one.index, metric: name });
  };
  return (
    <div class="scroll heat">
      <canvas
        ref={canvas}
        style={{ width: `${wide}px`, height: `${tall}px` }}
        tabIndex={0}
        role="img"
        aria-label={`Correlations of ${found.features.length} features with ${found.metrics.length} metrics. Arrow keys choose a cell.`}
        onClick={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          pick(Math.floor((event.clientY - box.top - top) / height), Math.floor((event.clientX - box.left - left) / width));
        }}
        onMouseMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          const [i, j] = [Math.floor((event.clientY - box.top - top) / height), Math.floor((event.clientX - box.left - left) / width)];
          const [one, name] = [found.features[i], found.metrics[j]];
          event.currentTarget.title = one && name ? `#${one.index} ${one.label}\n${spoken(name)}: r ${signed(found.r[i]?.[j] ?? null)} [${signed(found.low[i]?.[j] ?? null)}, ${signed(found.high[i]?.[j] ?? null)}]` : "";
        }}
        onKeyDown={(event) => {
          const moves: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
          const move = moves[event.key];
          if (move) {
            event.preventDefault();
            pick(Math.max(0, chosen[0] + move[0]), Math.max(0, chosen[1] + move[1]));
          } else if (event.key === "Enter" && chosen[0] >= 0) {
            location.hash = href("f", `${found.dictionary}/${found.features[chosen[0]]?.index ?? 0}`);
          }
        }}
      />
    </div>
  );
}

function Dots({ dots, metric }: { dots: Scatter; metric: string }): JSX.Element {
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
          <a key={index} href={found ? href("ep", `${found[1]}/${found[2]}`, { t: found[3] ?? 0 }) : undefined}>
            <circle class="speck" cx={x(value)} cy={y(dots.y[index] ?? 0)} r="2.2">
              <title>{`${dots.moments[index]}: ${spoken(metric)} ${number(value)}, activation ${number(dots.y[index])}`}</title>
            </circle>
          </a>
        );
      })}
      <text class="mid name" x={(left + width) / 2} y={height - 3}>
        {spoken(metric)}
      </text>
      <text class="name" x="0" y="9">
        activation
      </text>
    </svg>
  );
}
