/** Lanes over time: one line per quantity, a step under the cursor, and a window that one can brush. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { Known } from "../documents";
import { useColours } from "../state";
import { number } from "../format";
import { asSvg } from "./pen";
import type { Pen } from "./pen";

export interface Lane {
  name: string;
  values: Known[];
  unit?: string;
  /** One of the pins' colours, as "p0". */
  colour?: string;
  /** What whole numbers stand for: drawn as blocks, not as a line. */
  names?: string[];
}

const LEFT = 132;

interface Shown {
  lanes: Lane[];
  length: number;
  at: number;
  window: [number, number] | null;
  events: { name: string; steps: [number, number][] }[];
}

const [EACH, EVENT, TICKS] = [44, 14, 18];

function height(shown: Shown): number {
  return shown.lanes.length * EACH + shown.events.length * EVENT + (shown.events.length ? 8 : 0) + TICKS;
}

/** Draws all lanes, `wide` across, in the colours of the page as it is now. */
function draw(pen: Pen, wide: number, shown: Shown): void {
  const style = getComputedStyle(document.documentElement);
  const colourOf = (name: string): string => style.getPropertyValue(`--${name}`);
  const [ink, soft, line, accent] = [colourOf("ink"), colourOf("soft"), colourOf("line"), colourOf("accent")];
  const [last, tall] = [Math.max(1, shown.length - 1), height(shown)];
  const x = (step: number): number => LEFT + (step / last) * (wide - LEFT - 6);
  const stroke = (x0: number, y0: number, x1: number, y1: number): void => {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  };
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "left";
  if (shown.window) {
    pen.fillStyle = accent;
    pen.globalAlpha = 0.13;
    pen.fillRect(x(shown.window[0]), 0, Math.max(2, x(shown.window[1]) - x(shown.window[0])), tall - TICKS + 2);
    pen.globalAlpha = 1;
  }
  shown.lanes.forEach((lane, index) => {
    const [top, base] = [index * EACH + 5, (index + 1) * EACH - 5];
    const known = lane.values.filter((v): v is number => v !== null);
    let [low, high] = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
    if (low > 0 && low < 0.6 * high) low = 0;
    if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
    const y = (value: number): number => base - ((value - low) / (high - low)) * (base - top);
    const colour = lane.colour ? colourOf(lane.colour) : accent;
    pen.lineWidth = 1;
    pen.strokeStyle = line;
    stroke(LEFT, base + 4.5, wide - 6, base + 4.5);
    pen.fillStyle = lane.colour ? colour : ink;
    pen.fillText(lane.name.length > 20 ? `${lane.name.slice(0, 19)}…` : lane.name, 4, top + 11);
    const now = lane.values[shown.at];
    pen.fillStyle = soft;
    pen.fillText(now === null || now === undefined ? "–" : (lane.names?.[now] ?? `${number(now, 4)}${lane.unit && lane.unit !== "1" ? ` ${lane.unit}` : ""}`), 4, top + 25);
    pen.strokeStyle = pen.fillStyle = colour;
    if (lane.names) {
      const step = Math.max(1, (wide - LEFT) / shown.length);
      lane.values.forEach((value, at) => value !== null && pen.fillRect(x(at), y(value) - 2, step + 0.5, 4));
      return;
    }
    pen.lineWidth = 1.2;
    pen.beginPath();
    let isDown = false;
    lane.values.forEach((value, at) => {
      if (value === null) isDown = false;
      else if (isDown) pen.lineTo(x(at), y(value));
      else {
        pen.moveTo(x(at), y(value));
        isDown = true;
      }
    });
    pen.stroke();
  });
  const below = shown.lanes.length * EACH + 4;
  shown.events.forEach((event, index) => {
    const top = below + index * EVENT;
    pen.fillStyle = soft;
    pen.fillText(event.name, 4, top + 9);
    pen.fillStyle = colourOf(`p${(index + 2) % 8}`);
    for (const [from, to] of event.steps) pen.fillRect(x(from), top + 2, Math.max(2, x(to) - x(from)), 7);
  });
  pen.lineWidth = 1;
  pen.strokeStyle = ink;
  stroke(x(shown.at), 0, x(shown.at), tall - TICKS + 2);
  pen.fillStyle = soft;
  for (let tick = 0; tick <= last; tick += nice(last / Math.max(2, Math.min(8, (wide - LEFT) / 70)))) {
    pen.textAlign = tick === 0 ? "left" : "center";
    pen.fillText(tick === 0 ? "step 0" : String(tick), x(tick), tall - 3);
  }
}

/** The same as an SVG file. */
export function lanesSvg(shown: Shown): string {
  return asSvg(900, height(shown), (pen) => draw(pen, 900, shown));
}

export function Lanes(
  props: Shown & {
    onStep: (step: number) => void;
    onWindow: (window: [number, number] | null) => void;
  },
): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const began = useRef<number | null>(null);
  const [last, tall] = [Math.max(1, props.length - 1), height(props)];

  useColours();
  useEffect(() => {
    const target = canvas.current;
    const pen = target?.getContext("2d");
    if (!target || !pen) return undefined;
    const redraw = (): void => {
      const wide = target.clientWidth || 600;
      const ratio = window.devicePixelRatio || 1;
      [target.width, target.height] = [wide * ratio, tall * ratio];
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, wide, tall);
      draw(pen, wide, props);
    };
    redraw();
    const watch = new ResizeObserver(redraw);
    watch.observe(target);
    return () => watch.disconnect();
  });

  const stepAt = (event: PointerEvent): number => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 6);
    return Math.round(Math.min(1, Math.max(0, share)) * last);
  };
  const tips = props.events.map((event) => `${event.name}: ${event.steps.length}×`).join("\n");
  return (
    <canvas
      ref={canvas}
      class="lanes"
      style={{ height: `${tall}px` }}
      tabIndex={0}
      role="slider"
      aria-label="Step of the episode"
      aria-valuemin={0}
      aria-valuemax={last}
      aria-valuenow={props.at}
      title={tips}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        began.current = stepAt(event);
        props.onStep(began.current);
      }}
      onPointerMove={(event) => {
        if (began.current === null) return;
        const now = stepAt(event);
        if (event.shiftKey || Math.abs(now - began.current) > last / 100) props.onWindow([Math.min(began.current, now), Math.max(began.current, now)]);
        props.onStep(now);
      }}
      onPointerUp={(event) => {
        const now = stepAt(event);
        if (began.current !== null && Math.abs(now - began.current) <= last / 100) props.onWindow(null);
        began.current = null;
      }}
    />
  );
}

function nice(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough) ?? power * 10;
}
