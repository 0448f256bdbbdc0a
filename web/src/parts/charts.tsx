/** Small pictures of numbers as SVG. Each says in words what it shows, and every mark its value. */

import type { JSX } from "preact";

import type { Actions, DosePoint, Known } from "../documents";
import { number, percent, signed, spoken } from "../format";

const LETTER = 6.2;

interface Scale {
  (value: number): number;
  ticks: number[];
}

/** A linear scale from [low, high] to [from, to], with a few round ticks. */
export function scale(low: number, high: number, from: number, to: number, most = 5): Scale {
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999) ?? rough;
  const ticks: number[] = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) {
    ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  }
  const place = ((value: number) => from + ((value - low) / (high - low)) * (to - from)) as Scale;
  place.ticks = ticks;
  return place;
}

export function Histogram(props: { edges: number[]; counts: number[]; label: string }): JSX.Element {
  const [width, height, left, base] = [360, 134, 46, 96];
  const most = Math.max(1, ...props.counts);
  const top = Math.log10(most + 1);
  const x = scale(props.edges[0] ?? 0, props.edges.at(-1) ?? 1, left, width - 8);
  const y = (value: number): number => base - (Math.log10(value + 1) / top) * (base - 10);
  const powers = [...Array(Math.floor(Math.log10(most)) + 1).keys()].map((power) => 10 ** power);
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={props.label}>
      {powers.map((tick) => (
        <g key={tick}>
          <line class="grid" x1={left} x2={width - 8} y1={y(tick)} y2={y(tick)} />
          <text class="end" x={left - 5} y={y(tick) + 3.5}>
            {tick >= 1e6 ? `${tick / 1e6}M` : tick >= 1000 ? `${tick / 1000}k` : tick}
          </text>
        </g>
      ))}
      {props.counts.map((many, index) => {
        const [from = 0, to = 0] = [props.edges[index], props.edges[index + 1]];
        return (
          many > 0 && (
            <rect key={index} class="bar" x={x(from)} width={Math.max(1, x(to) - x(from) - 0.5)} y={y(many)} height={base - y(many)}>
              <title>{`${number(from)} to ${number(to)}: ${many.toLocaleString("en")} steps`}</title>
            </rect>
          )
        );
      })}
      <line class="tick" x1={left} x2={width - 8} y1={base} y2={base} />
      {x.ticks.map((tick) => (
        <text key={tick} class="mid" x={x(tick)} y={base + 14}>
          {number(tick)}
        </text>
      ))}
      <text class="mid name" x={(left + width) / 2} y={height - 5}>
        activation
      </text>
      <text class="name" x="0" y="9">
        steps
      </text>
    </svg>
  );
}

/** Dose–response: what strengths do to the return, beside random directions of equal norm. */
export function Dose(props: { points: DosePoint[]; episodes: number; unit?: string }): JSX.Element {
  const [width, height, left, base, right] = [420, 210, 52, 176, 412];
  const known = props.points.filter((one) => one.difference !== null).sort((a, b) => a.alpha - b.alpha);
  const heights = known.flatMap((p) => [p.low, p.high, p.random_low, p.random_high, 0]).filter((v): v is number => v !== null);
  const x = scale(Math.min(0, ...known.map((p) => p.alpha)), Math.max(0, ...known.map((p) => p.alpha)), left, right - 6, 8);
  const y = scale(Math.min(...heights), Math.max(...heights), base, 12);
  const band = known.filter((p) => p.random_low !== null && p.random_high !== null);
  const corners = [
    ...band.map((p) => `${x(p.alpha)},${y(p.random_high ?? 0)}`),
    ...band.toReversed().map((p) => `${x(p.alpha)},${y(p.random_low ?? 0)}`),
  ];
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`Change of return at ${known.length} strengths, ${props.episodes} paired episodes each, with 95 % intervals; the grey band is random directions.`}>
      {y.ticks.map((tick) => (
        <g key={tick}>
          <line class={tick === 0 ? "zero" : "grid"} x1={left} x2={right} y1={y(tick)} y2={y(tick)} />
          <text class="end" x={left - 5} y={y(tick) + 3.5}>
            {number(tick)}
          </text>
        </g>
      ))}
      {corners.length > 2 && (
        <polygon class="band" points={corners.join(" ")}>
          <title>Random directions of equal norm</title>
        </polygon>
      )}
      <path class="curve" d={known.map((p, i) => `${i ? "L" : "M"}${x(p.alpha)} ${y(p.difference ?? 0)}`).join("")} />
      {known.map((p) => (
        <g key={p.alpha}>
          {p.low !== null && p.high !== null && <line class="interval" x1={x(p.alpha)} x2={x(p.alpha)} y1={y(p.low)} y2={y(p.high)} />}
          <circle class={p.confirmed ? "dot" : "dot hollow"} cx={x(p.alpha)} cy={y(p.difference ?? 0)} r="3.6">
            <title>{`α = ${signed(p.alpha)}: ${signed(p.difference, 1)} [${signed(p.low, 1)}, ${signed(p.high, 1)}]${p.p === null ? "" : `, p = ${number(p.p, 2)}`}${p.confirmed ? ", beyond luck and random directions" : ""}`}</title>
          </circle>
        </g>
      ))}
      {x.ticks.map((tick) => (
        <text key={tick} class="mid" x={x(tick)} y={base + 15}>
          {signed(tick, tick % 1 ? 1 : 0)}
        </text>
      ))}
      <text class="mid name" x={(left + right) / 2} y={height - 4}>
        {`strength α${props.unit ? ` (${props.unit})` : ""}`}
      </text>
      <text class="name" x="0" y="9">
        change of return
      </text>
    </svg>
  );
}

/** Estimates with intervals, one below the other. */
export function Forest(props: {
  rows: { name: string; value: Known; low: Known; high: Known; second?: Known; href?: string }[];
  label: string;
  secondName?: string;
  symmetric?: number;
  digits?: number;
}): JSX.Element {
  const digits = props.digits ?? 2;
  const rows = props.rows;
  const longest = Math.min(26, Math.max(0, ...rows.map((row) => row.name.length)));
  const [width, line] = [400, 20];
  const left = 12 + longest * LETTER;
  const every = rows.flatMap((row) => [row.value, row.low, row.high, row.second ?? null]).filter((v): v is number => v !== null);
  const most = props.symmetric ?? Math.max(1e-9, ...every.map(Math.abs));
  const x = scale(-most, most, left + 6, width - 62);
  const height = 18 + rows.length * line;
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={props.label}>
      {x.ticks.map((tick) => (
        <g key={tick}>
          <line class={tick === 0 ? "zero" : "grid"} x1={x(tick)} x2={x(tick)} y1="2" y2={height - 16} />
          <text class="mid" x={x(tick)} y={height - 4}>
            {number(tick, 2)}
          </text>
        </g>
      ))}
      {rows.map((row, index) => {
        const y = 12 + index * line;
        const said = `${spoken(row.name)}: ${signed(row.value, digits)} [${signed(row.low, digits)}, ${signed(row.high, digits)}]${row.second === undefined ? "" : `, ${props.secondName ?? ""} ${signed(row.second)}`}`;
        return (
          <g key={row.name}>
            <text class="end" x={left - 7} y={y + 3.5}>
              {spoken(row.name).slice(0, 26)}
            </text>
            {row.low !== null && row.high !== null && <line class="interval" x1={x(row.low)} x2={x(row.high)} y1={y} y2={y} />}
            {row.second !== undefined && row.second !== null && (
              <rect class="diamond" x={x(row.second) - 3} y={y - 3} width="6" height="6" transform={`rotate(45 ${x(row.second)} ${y})`} />
            )}
            {row.value !== null && <circle class={`dot${(row.low ?? 0) * (row.high ?? 0) > 0 ? "" : " hollow"}`} cx={x(row.value)} cy={y} r="3.4" />}
            <text x={width - 48} y={y + 3.5} class="value">
              {signed(row.value, digits)}
            </text>
            <rect class="target" x="0" y={y - 9} width={width} height="18">
              <title>{said}</title>
            </rect>
          </g>
        );
      })}
    </svg>
  );
}

/** The pushes of a feature on actions that are directions: red away, blue towards. */
export function Pad(props: { actions: Actions; effects: Known[]; size?: number }): JSX.Element {
  const size = props.size ?? 132;
  const cell = size / 3;
  const most = Math.max(1e-9, ...props.effects.map((effect) => Math.abs(effect ?? 0)));
  // Rows of the pad that no action lies in are left out.
  const rows = props.actions.pad.flatMap((place) => (place ? [place[1]] : []));
  const [top, tall] = [Math.min(...rows) * cell, (Math.max(...rows) - Math.min(...rows) + 1) * cell];
  return (
    <svg class="chart pad" viewBox={`0 ${top} ${size} ${tall}`} width={size} height={tall} role="img" aria-label={padWords(props.actions, props.effects)}>
      {props.actions.pad.map((place, action) => {
        if (!place) return null;
        const effect = props.effects[action] ?? null;
        const strength = Math.abs(effect ?? 0) / most;
        return (
          <g key={action}>
            <rect
              class={(effect ?? 0) >= 0 ? "toward" : "away"}
              style={{ fillOpacity: 0.08 + 0.92 * strength }}
              x={place[0] * cell + 1.5}
              y={place[1] * cell + 1.5}
              width={cell - 3}
              height={cell - 3}
              rx="4"
            >
              <title>{`${props.actions.names[action]}: ${signed(effect)}`}</title>
            </rect>
            <text class={`mid${strength > 0.55 ? " on" : ""}`} x={(place[0] + 0.5) * cell} y={(place[1] + 0.5) * cell + 4}>
              {arrow(place)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

function arrow(place: [number, number]): string {
  const arrows = ["↖", "↑", "↗", "←", "•", "→", "↙", "↓", "↘"];
  return arrows[place[1] * 3 + place[0]] ?? "•";
}

function padWords(actions: Actions, effects: Known[]): string {
  const said = effects.map((effect, index) => `${actions.names[index]} ${signed(effect)}`);
  return `Effect on each action: ${said.join(", ")}`;
}

/** A share as a bar in a line of text. */
export function Share(props: { value: Known; label: string }): JSX.Element {
  return (
    <span class="share" title={`${props.label} ${percent(props.value, 1)}`}>
      <span style={{ width: `${100 * Math.min(1, Math.max(0, props.value ?? 0))}%` }} />
    </span>
  );
}
