/** Lanes over time: one line per quantity, a step under the cursor, and a window that one can brush. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { Known } from "../documents";

export interface Lane {
  name: string;
  values: Known[];
  /** One of the pins' colours, as "p0". */
  colour?: string;
  /** Whole numbers that are names: drawn as blocks, not as a line. */
  isChoice?: boolean;
}

const LEFT = 132;

export function Lanes(props: {
  lanes: Lane[];
  length: number;
  at: number;
  window: [number, number] | null;
  events: { name: string; steps: [number, number][] }[];
  height?: number;
  onStep: (step: number) => void;
  onWindow: (window: [number, number] | null) => void;
}): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const began = useRef<number | null>(null);
  const each = props.height ?? 44;
  const tall = (props.lanes.length + (props.events.length ? 0.6 : 0)) * each + 18;
  const last = Math.max(1, props.length - 1);

  useEffect(() => {
    const target = canvas.current;
    const pen = target?.getContext("2d");
    if (!target || !pen) return undefined;
    const draw = (): void => {
      const wide = target.clientWidth || 600;
      const ratio = window.devicePixelRatio || 1;
      [target.width, target.height] = [wide * ratio, tall * ratio];
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      const style = getComputedStyle(document.documentElement);
      const [ink, soft, line, accent] = ["--ink", "--soft", "--line", "--accent"].map((name) => style.getPropertyValue(name)) as [string, string, string, string];
      const x = (step: number): number => LEFT + (step / last) * (wide - LEFT - 6);
      pen.clearRect(0, 0, wide, tall);
      pen.font = "11px system-ui, sans-serif";
      if (props.window) {
        pen.fillStyle = accent;
        pen.globalAlpha = 0.13;
        pen.fillRect(x(props.window[0]), 0, Math.max(2, x(props.window[1]) - x(props.window[0])), tall - 16);
        pen.globalAlpha = 1;
      }
      props.lanes.forEach((lane, index) => {
        const [top, base] = [index * each + 5, (index + 1) * each - 5];
        const known = lane.values.filter((v): v is number => v !== null);
        let [low, high] = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
        if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
        if (low > 0 && low < 0.6 * high) low = 0;
        const y = (value: number): number => base - ((value - low) / (high - low)) * (base - top);
        const colour = lane.colour ? style.getPropertyValue(`--${lane.colour}`) : accent;
        pen.strokeStyle = line;
        pen.beginPath();
        pen.moveTo(LEFT, base + 4.5);
        pen.lineTo(wide - 6, base + 4.5);
        pen.stroke();
        pen.fillStyle = lane.colour ? colour : ink;
        pen.textAlign = "left";
        pen.fillText(lane.name.slice(0, 20), 4, top + 11);
        const now = lane.values[props.at];
        pen.fillStyle = soft;
        pen.fillText(now === null || now === undefined ? "–" : Number(now.toPrecision(4)).toString(), 4, top + 25);
        pen.strokeStyle = pen.fillStyle = colour;
        if (lane.isChoice) {
          const step = Math.max(1, (wide - LEFT) / props.length);
          lane.values.forEach((value, at) => {
            if (value !== null) pen.fillRect(x(at), y(value) - 2, step + 0.5, 4);
          });
          return;
        }
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
        pen.lineWidth = 1.2;
        pen.stroke();
      });
      const below = props.lanes.length * each;
      props.events.forEach((event, index) => {
        pen.fillStyle = style.getPropertyValue(`--p${(index + 2) % 8}`);
        for (const [from, to] of event.steps) pen.fillRect(x(from), below + 4 + index * 3, Math.max(2, x(to) - x(from)), 3);
      });
      if (props.events.length) {
        pen.fillStyle = soft;
        pen.fillText("events", 4, below + 14);
      }
      pen.strokeStyle = ink;
      pen.beginPath();
      pen.moveTo(x(props.at), 0);
      pen.lineTo(x(props.at), tall - 16);
      pen.stroke();
      pen.fillStyle = soft;
      pen.textAlign = "center";
      for (let tick = 0; tick <= last; tick += nice(last / 8)) pen.fillText(String(tick), x(tick), tall - 3);
    };
    draw();
    const watch = new ResizeObserver(draw);
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
