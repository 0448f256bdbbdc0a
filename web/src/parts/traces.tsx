/** Lanes of the steps just played: drawn whole with each step, dragged to go back. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { Known } from "../documents";
import { number } from "../format";

export interface Trace {
  name: string;
  colour: string;
  /** Of the steps shown, in their order. */
  values: Known[];
}

const [LEFT, EACH, BASE] = [116, 30, 16];

export function Traces(props: {
  traces: Trace[];
  steps: number[];
  at: number;
  marks: { step: number; name: string; colour: string }[];
  onDrag: (step: number) => void;
  onDrop: (step: number) => void;
}): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const isHeld = useRef(false);
  const tall = props.traces.length * EACH + BASE;
  const [first, last] = [props.steps[0] ?? 0, Math.max((props.steps[0] ?? 0) + 1, props.steps.at(-1) ?? 1)];

  useEffect(() => {
    const target = canvas.current;
    const pen = target?.getContext("2d");
    if (!target || !pen) return;
    const wide = target.clientWidth || 600;
    const ratio = window.devicePixelRatio || 1;
    if (target.width !== Math.round(wide * ratio)) target.width = Math.round(wide * ratio);
    if (target.height !== Math.round(tall * ratio)) target.height = Math.round(tall * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, tall);
    pen.font = "11px system-ui, sans-serif";
    const style = getComputedStyle(document.documentElement);
    const ink = (name: string): string => style.getPropertyValue(`--${name}`);
    const x = (step: number): number => LEFT + ((step - first) / (last - first)) * (wide - LEFT - 6);
    props.marks.forEach((mark, index) => {
      if (mark.step < first || mark.step > last) return;
      pen.strokeStyle = pen.fillStyle = ink(mark.colour);
      pen.setLineDash([3, 3]);
      line(pen, x(mark.step), 0, x(mark.step), tall - BASE);
      pen.setLineDash([]);
      const isLate = x(mark.step) > wide - 90;
      pen.textAlign = isLate ? "right" : "left";
      pen.fillText(mark.name, x(mark.step) + (isLate ? -3 : 3), 9 + 12 * index);
    });
    props.traces.forEach((trace, index) => {
      const [top, base] = [index * EACH + 4, (index + 1) * EACH - 4];
      let [low, high] = [Infinity, -Infinity];
      for (const value of trace.values) if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
      if (low > 0 && low < 0.6 * high) low = 0;
      if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
      const y = (value: number): number => base - ((value - low) / (high - low)) * (base - top);
      pen.strokeStyle = ink("line");
      line(pen, LEFT, base + 3.5, wide - 6, base + 3.5);
      pen.textAlign = "left";
      pen.fillStyle = ink(trace.colour === "accent" ? "ink" : trace.colour);
      pen.fillText(trace.name.slice(0, 18), 2, top + 9);
      pen.fillStyle = ink("soft");
      const place = props.steps.indexOf(props.at);
      pen.fillText(number(trace.values[place < 0 ? trace.values.length - 1 : place]), 2, top + 21);
      pen.strokeStyle = ink(trace.colour);
      pen.lineWidth = 1.2;
      pen.beginPath();
      let isDown = false;
      trace.values.forEach((value, place) => {
        const at = x(props.steps[place] ?? 0);
        if (value === null) isDown = false;
        else if (isDown) pen.lineTo(at, y(value));
        else {
          pen.moveTo(at, y(value));
          isDown = true;
        }
      });
      pen.stroke();
      pen.lineWidth = 1;
    });
    pen.strokeStyle = ink("ink");
    line(pen, x(props.at), 0, x(props.at), tall - BASE);
    pen.fillStyle = ink("soft");
    pen.textAlign = "left";
    pen.fillText(`step ${first}`, LEFT, tall - 3);
    pen.textAlign = "right";
    pen.fillText(String(last), wide - 6, tall - 3);
  });

  const stepAt = (event: PointerEvent): number => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 6);
    return Math.round(first + Math.min(1, Math.max(0, share)) * (last - first));
  };
  return (
    <canvas
      ref={canvas}
      class="lanes"
      style={{ height: `${tall}px` }}
      role="img"
      aria-label={`The last ${props.steps.length} steps: ${props.traces.map((one) => `${one.name} ${number(one.values.at(-1))}`).join(", ")}`}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        isHeld.current = true;
        props.onDrag(stepAt(event));
      }}
      onPointerMove={(event) => isHeld.current && props.onDrag(stepAt(event))}
      onPointerUp={(event) => {
        if (isHeld.current) props.onDrop(stepAt(event));
        isHeld.current = false;
      }}
    />
  );
}

function line(pen: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}
