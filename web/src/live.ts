/** Live play over a socket: what the server sends step by step, and what hands ask of it.
 *
 * Nothing queues. Of messages that come faster than the page draws, the newest is drawn; and of what
 * a slider says within an animation frame, the first and the last are sent.
 */

import type { Actions, Known } from "./documents";
import { Refused } from "./provider";
import type { Provider } from "./provider";

export type EditKind = "steer" | "clamp" | "scale" | "ablate";

export interface Edit {
  feature: number;
  kind: EditKind;
  /** Of steer and clamp in units of the feature's own maximum; a factor of scale. */
  value: number;
}

/** What an action is: the number of a choice, or one number per axis. */
export type Action = number | number[];

/** The header of one step. */
export interface Step {
  n: number;
  episode: number;
  step: number;
  seed: number;
  playing: boolean;
  can_rewind: boolean;
  action: { agent: Action; twin: Action | null };
  probabilities: Known[] | null;
  /** What an agent that has no probabilities holds each action to be worth. */
  values: Known[] | null;
  value: Known;
  entropy: Known;
  reward: Known;
  total: { agent: Known; twin: Known };
  ended: string | null;
  twin_ended: string | null;
  diverged: number | null;
  /** Index, code, and that as a share of the feature's own maximum. */
  features: [number, number, number][];
  edits: Edit[];
  edited_at: number | null;
  held: boolean;
  words: string;
  metrics: Record<string, Known>;
  metrics_twin: Record<string, Known>;
  frames: number[];
}

export interface Hello {
  actions: Actions;
  dictionary: string;
  width: number;
  max: Known[];
  labels: Record<string, string>;
  keys: Record<string, number>;
  fps: number;
}

export interface Choices {
  dictionary: string;
  seed: number;
  deterministic: boolean;
  fps: number;
  twin: boolean;
}

/** One step as it came: its header, and the pictures of the agent and its twin. */
export interface Seen {
  header: Step;
  pictures: Blob[];
}

export type Standing = "joining" | "here" | "gone" | "refused";

const KEPT_STEPS = 3000;
const WAITS = [300, 1000, 2000, 4000];
const AMONG = 30;
/** Codes of a socket that is closed on purpose: against the rules, and too many pages. */
const REFUSING = [1008, 1013];

/** A message as `policyscope/studio/wire.py` writes it. */
export function decode(message: ArrayBuffer): Seen {
  const length = new DataView(message).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length))) as Step;
  let from = 4 + length;
  const pictures: Blob[] = [];
  for (const bytes of header.frames) {
    const before = pictures.at(-1);
    // One of no bytes is like the one before.
    pictures.push(bytes === 0 && before ? before : new Blob([new Uint8Array(message, from, bytes)], { type: "image/png" }));
    from += bytes;
  }
  return { header, pictures };
}

export class Session {
  standing: Standing = "joining";
  /** What went wrong, until somebody has read it. */
  error: string | null = null;
  hello: Hello | null = null;
  now: Seen | null = null;
  /** Steps of this episode by number, as long as there is room. */
  past = new Map<number, Seen>();
  /** What a language model says; in place of a text the error that kept it from saying one. */
  caption: { text: string; forStep: number; error: string } | null = null;
  saved: string | null = null;
  /** How many episodes were begun here. */
  starts = 0;
  /** Frames drawn in the last second, and milliseconds from a slider to the frame it changed. */
  rate = 0;
  latency: number | null = null;

  private socket: WebSocket | null = null;
  private readonly listeners = new Set<() => void>();
  private readonly painters = new Set<(seen: Seen) => Promise<unknown> | void>();
  private next: Seen | null = null;
  private isDrawing = false;
  private isClosed = false;
  private tries = 0;
  private timer = 0;
  private edits: Edit[] = [];
  private pins: number[] = [];
  private says = false;
  private isPlaying = true;
  private waiting: Map<string, object> = new Map();
  private isResting = false;
  private asked: { at: number; edits: string } | null = null;
  private drawn: number[] = [];

  constructor(
    private readonly data: Provider,
    private choices: Choices,
  ) {}

  /** Joins; the function it returns leaves. */
  open(): () => void {
    this.isClosed = false;
    this.join();
    return () => {
      this.isClosed = true;
      window.clearTimeout(this.timer);
      this.socket?.close();
    };
  }

  /** Calls back whenever anything has changed. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls back with each step that is to be drawn. */
  onDraw(painter: (seen: Seen) => Promise<unknown> | void): () => void {
    this.painters.add(painter);
    if (this.now) void painter(this.now);
    return () => this.painters.delete(painter);
  }

  start(changes: Partial<Choices> = {}): void {
    this.choices = { ...this.choices, ...changes };
    this.starts += 1;
    this.past.clear();
    this.caption = this.saved = null;
    this.isPlaying = true;
    // In one message: what a link steers is steered from the first step on.
    this.say({ type: "start", ...this.choices, pins: this.pins, edits: this.edits });
    if (this.says) this.say({ type: "explain", llm: true });
  }

  edit(edits: Edit[]): void {
    if (same(edits) === same(this.edits)) return;
    this.edits = edits;
    this.sendEdits();
  }

  pin(features: number[]): void {
    if (features.join() === this.pins.join()) return;
    this.pins = features;
    this.say({ type: "pin", features });
  }

  play(): void {
    this.isPlaying = true;
    this.say({ type: "play" });
  }

  pause(): void {
    this.isPlaying = false;
    this.say({ type: "pause" });
  }

  step(count = 1): void {
    this.isPlaying = false;
    this.say({ type: "step", count });
  }

  rewind(step: number): void {
    for (const one of this.past.keys()) if (one >= step) this.past.delete(one);
    this.lately("rewind", { type: "rewind", step });
  }

  branch(): void {
    this.say({ type: "branch" });
  }

  act(action: number | null): void {
    this.lately("act", { type: "act", action });
  }

  pace(fps: number): void {
    this.choices.fps = fps;
    this.say({ type: "rate", fps });
  }

  explain(llm: boolean): void {
    this.says = llm;
    if (!llm) this.caption = null;
    this.say({ type: "explain", llm });
  }

  save(name: string): void {
    this.saved = null;
    this.say({ type: "save", name });
  }

  dismiss(): void {
    this.error = null;
    this.changed();
  }

  // --- inside ---------------------------------------------------------------------------------

  private sendEdits(): void {
    if (this.now && this.standing === "here") this.asked = { at: performance.now(), edits: same(this.edits) };
    this.lately("edit", { type: "edit", edits: this.edits });
  }

  private say(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Says it at once; of what comes within an animation frame after that, the last of its kind. */
  private lately(kind: string, message: object): void {
    if (this.isResting) {
      this.waiting.set(kind, message);
      return;
    }
    this.say(message);
    this.isResting = true;
    requestAnimationFrame(() => this.goOn());
  }

  private goOn(): void {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    all.forEach((one) => this.say(one));
    this.isResting = all.length > 0;
    if (all.length) requestAnimationFrame(() => this.goOn());
  }

  private join(): void {
    const socket = this.data.live();
    if (!socket) {
      this.fail("refused", "Nothing can play here: open the study in the studio.");
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.standing = "here";
      const wasPlaying = this.isPlaying;
      this.start();
      if (!wasPlaying) this.pause();
      this.changed();
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.hear(data) : this.see(decode(data as ArrayBuffer)));
    socket.onclose = (event) => {
      if (this.isClosed || socket !== this.socket) return;
      if (REFUSING.includes(event.code)) this.fail("refused", this.error ?? `The studio has ended live play: ${event.reason || "no reason given"}. Load the page again.`);
      else void this.retry();
    };
  }

  /** The server is gone, or will not have us: only an ordinary request says which. */
  private async retry(): Promise<void> {
    this.standing = "gone";
    this.changed();
    try {
      await this.data.get("overview");
    } catch (failure) {
      const status = failure instanceof Refused ? failure.status : 0;
      if (status === 401 || status === 403) {
        this.fail("refused", (failure as Error).message);
        return;
      }
    }
    if (this.isClosed) return;
    this.timer = window.setTimeout(() => this.join(), WAITS[Math.min(this.tries, WAITS.length - 1)]);
    this.tries += 1;
  }

  private fail(standing: Standing, error: string): void {
    this.standing = standing;
    this.error = error;
    this.changed();
  }

  private hear(text: string): void {
    const said = JSON.parse(text) as { type: string } & Record<string, unknown>;
    if (said.type === "hello") this.hello = said as unknown as Hello;
    else if (said.type === "error") this.error = String(said["error"]);
    else if (said.type === "caption") this.caption = { text: String(said["text"]), forStep: Number(said["for_step"]), error: String(said["error"] ?? "") };
    else if (said.type === "saved") this.saved = String(said["path"]);
    this.changed();
  }

  private see(seen: Seen): void {
    this.next = seen;
    if (!this.isDrawing) {
      this.isDrawing = true;
      void this.draw();
    }
  }

  private async draw(): Promise<void> {
    const seen = this.next;
    this.next = null;
    if (seen) {
      this.keep(seen);
      await Promise.all([...this.painters].map((paint) => paint(seen)));
      this.say({ type: "ack", n: seen.header.n });
      this.count(seen.header);
      this.changed();
    }
    // One per animation frame: more would be drawn for nobody.
    requestAnimationFrame(() => {
      if (this.next) void this.draw();
      else this.isDrawing = false;
    });
  }

  private keep(seen: Seen): void {
    const { header } = seen;
    const before = this.now?.header;
    if (before && (before.episode !== header.episode || before.seed !== header.seed)) this.past.clear();
    for (const one of [...this.past.keys()].toReversed()) {
      if (one <= header.step) break;
      this.past.delete(one);
    }
    this.past.delete(header.step);
    this.past.set(header.step, seen);
    if (this.past.size > KEPT_STEPS) this.past.delete(this.past.keys().next().value ?? 0);
    this.now = seen;
  }

  private count(header: Step): void {
    const now = performance.now();
    this.drawn.push(now);
    if (this.drawn.length > AMONG) this.drawn.shift();
    const span = now - (this.drawn[0] ?? now);
    this.rate = span > 0 ? (1000 * (this.drawn.length - 1)) / span : 0;
    if (this.asked && same(header.edits) === this.asked.edits) {
      this.latency = now - this.asked.at;
      this.asked = null;
    }
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }
}

/** Edits as they are compared: by what they do. */
function same(edits: Edit[]): string {
  return edits.map((one) => `${one.feature}:${one.kind}:${one.kind === "ablate" ? 0 : Math.round(1000 * one.value)}`).join();
}

/** Edits as an address has them: `17:steer:1.2|5:ablate:0`. */
export function spell(edits: Edit[]): string {
  return edits.map((one) => `${one.feature}:${one.kind}:${one.value}`).join("|");
}

export function readEdits(said: string | null): Edit[] {
  return (said ?? "")
    .split("|")
    .map((one) => one.split(":"))
    .filter(([feature, kind, value]) => /^\d+$/.test(feature ?? "") && ["steer", "clamp", "scale", "ablate"].includes(kind ?? "") && Number.isFinite(Number(value)))
    .map(([feature, kind, value]) => ({ feature: Number(feature), kind: kind as EditKind, value: Number(value) }));
}

/** Which features are shown: those of the hand first, the others each in its place.
 *
 * A place is given away only to a feature that fires clearly more, so that nothing flickers.
 */
export class Shelf {
  private places: number[] = [];
  private readonly usual = new Map<number, number>();

  constructor(private readonly most: number) {}

  /** Takes in one step; shares decay over about a second. */
  see(features: [number, number, number][]): void {
    for (const [index, share] of this.usual) {
      if (share < 0.01) this.usual.delete(index);
      else this.usual.set(index, share * 0.93);
    }
    for (const [index, , share] of features) this.usual.set(index, (this.usual.get(index) ?? 0) + 0.07 * share);
  }

  shown(first: number[]): number[] {
    const room = this.most - first.length;
    const isFirst = new Set(first);
    let kept = this.places.filter((one) => !isFirst.has(one)).slice(0, Math.max(0, room));
    const here = new Set(kept);
    const coming = [...this.usual].filter(([one]) => !isFirst.has(one) && !here.has(one)).sort((a, b) => b[1] - a[1]);
    for (const [index, share] of coming) {
      if (kept.length < room) {
        kept.push(index);
        continue;
      }
      const weakest = kept.reduce((least, one) => (this.strength(one) < this.strength(least) ? one : least), kept[0] ?? -1);
      if (weakest < 0 || share < 1.6 * this.strength(weakest) + 0.01) break;
      kept = kept.map((one) => (one === weakest ? index : one));
    }
    this.places = kept;
    return [...first, ...kept];
  }

  /** Puts them in the order of their strength now. */
  sort(): void {
    this.places = [...this.usual].sort((a, b) => b[1] - a[1]).map(([index]) => index);
  }

  clear(): void {
    this.places = [];
    this.usual.clear();
  }

  private strength(index: number): number {
    return this.usual.get(index) ?? 0;
  }
}
