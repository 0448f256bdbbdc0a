/** A feature wherever it is named: its colour, its label, and a card with what is known of it. */

import type { JSX } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";

import type { Clip, FeaturePage, Known, Overview, Status, Verdict } from "../documents";
import { number, percent, signed, spoken } from "../format";
import { go, href } from "../router";
import { colourOf, togglePin } from "../state";
import { Histogram, Pad } from "./charts";
import { Data, useDocument } from "./load";

const REST = 180;

export function addressOf(dictionary: string, index: number): string {
  return `${dictionary}#${index}`;
}

export function FeatureName(props: { dictionary: string; index: number; label?: string; brief?: boolean }): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const timer = useRef(0);
  const anchor = useRef<HTMLSpanElement>(null);
  const address = addressOf(props.dictionary, props.index);
  const colour = colourOf(address);
  const wait = (to: boolean): void => {
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setOpen(to), REST);
  };
  useEffect(() => () => window.clearTimeout(timer.current), []);
  useEffect(() => {
    if (!isOpen) return undefined;
    const close = (event: Event): void => {
      if (!(event instanceof KeyboardEvent) || event.key === "Escape") setOpen(false);
    };
    // The card stands still where the page moves.
    window.addEventListener("scroll", close, true);
    window.addEventListener("keydown", close);
    return () => {
      window.removeEventListener("scroll", close, true);
      window.removeEventListener("keydown", close);
    };
  }, [isOpen]);
  return (
    <span ref={anchor} class="feature" onMouseEnter={() => wait(true)} onMouseLeave={() => wait(false)} onFocusIn={() => wait(true)} onFocusOut={() => wait(false)}>
      <a href={href("f", `${props.dictionary}/${props.index}`)}>
        {colour !== null && <i class={`swatch p${colour}`} />}
        <b>#{props.index}</b>
        {!props.brief && props.label && <span class="label"> {props.label}</span>}
      </a>
      {isOpen && <Card dictionary={props.dictionary} index={props.index} anchor={anchor.current} />}
    </span>
  );
}

const [CARD_WIDE, EDGE] = [368, 8];

/** What is known of a feature, beside its name, in front of everything and inside the window. */
function Card(props: { dictionary: string; index: number; anchor: HTMLElement | null }): JSX.Element {
  const { value, error } = useDocument<FeaturePage>(`feature/${props.dictionary}/${props.index}`);
  const overview = useDocument<Overview>("overview").value;
  const box = useRef<HTMLDivElement>(null);
  const named = props.anchor?.getBoundingClientRect();
  const [isUp, setUp] = useState(false);
  const wide = Math.min(CARD_WIDE, window.innerWidth - 2 * EDGE);
  const left = Math.max(EDGE, Math.min(named?.left ?? 0, window.innerWidth - wide - EDGE));
  const place = isUp ? { bottom: `${window.innerHeight - (named?.top ?? 0)}px` } : { top: `${named?.bottom ?? 0}px` };
  useEffect(() => {
    const tall = box.current?.offsetHeight ?? 0;
    setUp((named?.bottom ?? 0) + tall > window.innerHeight - EDGE && (named?.top ?? 0) > tall);
  }, [value, error]);
  return (
    <div ref={box} class="card" role="tooltip" style={{ left: `${left}px`, width: `${wide}px`, ...place }}>
      {error && <p>{error}</p>}
      {!value && !error && <p class="quiet">Loading …</p>}
      {value && (
        <>
          <p>
            <b>{value.address}</b> {!value.dead && <Badge status={value.status} />} <Finding verdict={value.verdict} />
          </p>
          <p>{value.dead ? "never fires" : value.label}</p>
          <div class="side">
            {value.intervals[0]?.moments[0] && <Frames moment={value.intervals[0].moments[0].moment} around={12} width={110} />}
            {overview && value.effect && overview.environment.actions.pad.some(Boolean) && (
              <Pad actions={overview.environment.actions} effects={value.effect.measured.length ? value.effect.measured : value.effect.direct} size={84} />
            )}
            <Histogram edges={value.histogram.edges} counts={value.histogram.counts} label="How strongly it fires" />
          </div>
          <p class="note">
            fires in {percent(value.firing_rate, 1)} of steps, at most {number(value.max)}
            {value.metric && ` · goes with ${spoken(value.metric.name)}, r ${signed(value.metric.r)}`}
          </p>
        </>
      )}
    </div>
  );
}

/** Another dictionary, or whatever else a page is of, for the same page. */
export function Another(props: { page: string; what?: string; dictionary: string; known: string[] }): JSX.Element {
  const known = props.known.length ? props.known : [props.dictionary];
  return (
    <select class="of" aria-label={props.what ?? "Dictionary"} value={props.dictionary} onChange={(event) => go(href(props.page, event.currentTarget.value))}>
      {known.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}

/** Where nobody has looked at the features of a dictionary yet: the way to have it done. */
export function LookFirst({ dictionary }: { dictionary: string }): JSX.Element | null {
  const study = useDocument<Overview>("overview").value;
  const known = study?.dictionaries.find((one) => one.name === dictionary);
  if (!useContext(Data).canWrite || !known || known.has.features) return null;
  return (
    <p>
      <a class="button" href={href("experiments", "", { verb: "features", sweep: dictionary })}>
        Look at them now
      </a>
    </p>
  );
}

export function Pin(props: { address: string }): JSX.Element {
  const colour = colourOf(props.address);
  return (
    <button
      class={`pin${colour === null ? "" : ` p${colour}`}`}
      aria-pressed={colour !== null}
      aria-label={`${colour === null ? "Pin" : "Unpin"} ${props.address}`}
      title={colour === null ? "Pin: give it a colour on every page" : "Unpin"}
      onClick={() => togglePin(props.address)}
    >
      ●
    </button>
  );
}

export function Badge(props: { status: Status }): JSX.Element {
  const marks: Record<Status, string> = { guess: "◌", tested: "◉", refuted: "⊘" };
  return (
    <span class={`badge ${props.status}`}>
      {marks[props.status]} {props.status}
    </span>
  );
}

export function Finding(props: { verdict: Verdict }): JSX.Element {
  const marks: Record<Verdict, string> = { helps: "▲", harms: "▼", "nothing shown": "≈", "not tested": "" };
  return <span class={`verdict ${props.verdict.replace(" ", "-")}`}>{`${marks[props.verdict]} ${props.verdict}`.trim()}</span>;
}

const sheets = new Map<string, Promise<HTMLImageElement>>();

function picture(address: string): Promise<HTMLImageElement> {
  let found = sheets.get(address);
  if (!found) {
    found = new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("The frames cannot be shown."));
      image.src = address;
    });
    sheets.set(address, found);
    if (sheets.size > 64) sheets.delete(sheets.keys().next().value ?? "");
  }
  return found;
}

/** The frame at a step, from the sheets of a clip, on a canvas. */
export function useFrame(clip: Clip | null, step: number): (canvas: HTMLCanvasElement | null) => void {
  const data = useContext(Data);
  const canvas = useRef<HTMLCanvasElement | null>(null);
  useEffect(() => {
    let isHere = true;
    const target = canvas.current;
    if (!clip || !target) return undefined;
    const place = nearest(clip.steps, step);
    const sheet = clip.sheets.find((one) => place >= one.first && place < one.first + one.count);
    if (!sheet) return undefined;
    data
      .picture(sheet.path)
      .then(picture)
      .then((image) => {
        if (!isHere) return;
        if (target.width !== clip.width) target.width = clip.width;
        if (target.height !== clip.height) target.height = clip.height;
        const at = place - sheet.first;
        const [column, row] = [at % sheet.columns, Math.floor(at / sheet.columns)];
        const { width, height } = clip;
        target.getContext("2d")?.drawImage(image, column * width, row * height, width, height, 0, 0, width, height);
      })
      .catch(() => undefined);
    return () => {
      isHere = false;
    };
  }, [clip, step, data]);
  return (found) => {
    canvas.current = found;
  };
}

/** The place in `steps` that is nearest to `step`. */
function nearest(steps: number[], step: number): number {
  let [low, high] = [0, steps.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] ?? 0) < step) low = middle + 1;
    else high = middle;
  }
  const before = low > 0 && step - (steps[low - 1] ?? 0) < (steps[low] ?? 0) - step;
  return before ? low - 1 : low;
}

export function splitMoment(moment: string): [string, number, number] {
  const found = /^(.*)\/ep(\d+)@(\d+)$/.exec(moment);
  return [found?.[1] ?? "", Number(found?.[2] ?? 0), Number(found?.[3] ?? 0)];
}

/** The frames around a moment: still until hovered or focused, then they play. */
export function Frames(props: { moment: string; around: number; width?: number }): JSX.Element {
  const [recording, episode, step] = splitMoment(props.moment);
  const path = `clip/${recording}/${episode}?from=${Math.max(0, step - props.around)}&to=${step + props.around}`;
  const { value: clip, error } = useDocument<Clip | null>(path);
  const [shown, setShown] = useState(step);
  const [isPlaying, setPlaying] = useState(false);
  const canvas = useFrame(clip, shown);
  useEffect(() => {
    if (!isPlaying || !clip?.steps.length) return undefined;
    let place = 0;
    const timer = window.setInterval(() => {
      setShown(clip.steps[place % clip.steps.length] ?? step);
      place += 1;
    }, 70);
    return () => {
      window.clearInterval(timer);
      setShown(step);
    };
  }, [isPlaying, clip, step]);
  // A file holds no episodes to open.
  const open = useContext(Data).kind === "file" ? undefined : href("ep", `${recording}/${episode}`, { t: step });
  return (
    <a class="frames" href={open} title={!open ? props.moment : clip ? `${props.moment}: open the episode here` : `${props.moment}: open the episode here. To draw it: policyscope frames STUDY --recording ${recording} --episode ${episode}`} style={props.width ? { width: `${props.width}px` } : {}} onMouseEnter={() => setPlaying(true)} onMouseLeave={() => setPlaying(false)} onFocus={() => setPlaying(true)} onBlur={() => setPlaying(false)}>
      {clip && clip.steps.length > 0 ? <canvas ref={canvas} /> : <span class="none">{clip === null && !error ? "not drawn" : error ? "no picture" : "…"}</span>}
    </a>
  );
}

export function effectWords(effects: Known[], names: string[]): string {
  let best = -1;
  effects.forEach((effect, index) => {
    if (effect !== null && (best < 0 || Math.abs(effect) > Math.abs(effects[best] ?? 0))) best = index;
  });
  if (best < 0) return "";
  return `${(effects[best] ?? 0) > 0 ? "towards" : "away from"} ${names[best] ?? best}`;
}
