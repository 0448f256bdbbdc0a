/** The agent plays now, under one's eyes and hands, and its unsteered twin beside it. */

import type { JSX } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Known, Overview } from "../documents";
import { number, percent, plural, signed, spoken } from "../format";
import { Session, Shelf, readEdits, spell } from "../live";
import type { Action, Edit, EditKind, Hello, Seen, Step } from "../live";
import { addressOf, FeatureName, Pin } from "../parts/feature";
import { Data, useDocument } from "../parts/load";
import { ModelCaption } from "../parts/model";
import { Panel } from "../parts/panel";
import { Traces } from "../parts/traces";
import type { Trace } from "../parts/traces";
import { amend, href, usePlace } from "../router";
import { colourOf, pins } from "../state";

const [MOST_SHOWN, STEPS_SHOWN] = [24, 300];
/** Numbers change this often; pictures with every step. */
const BEAT = 90;
const RATES = [1, 5, 10, 15, 30, 60];
const NEUTRAL: Record<EditKind, number | null> = { steer: 0, clamp: null, scale: 1, ablate: null };
const RANGE: Record<EditKind, [number, number, string]> = {
  steer: [-2, 2, "× its maximum, added"],
  clamp: [0, 2, "× its maximum, held"],
  scale: [0, 3, "× what it is"],
  ablate: [0, 0, "held at 0"],
};

export function Live({ dictionary }: { dictionary: string }): JSX.Element {
  const data = useContext(Data);
  const { query } = usePlace();
  const session = useMemo(
    () => new Session(data, { dictionary, seed: Number(query.get("seed") ?? 0) || 0, deterministic: query.get("sampled") !== "1", fps: Number(query.get("fps") ?? 30) || 30, twin: query.get("twin") !== "0" }),
    [data, dictionary],
  );
  useEffect(() => session.open(), [session]);
  useBeat(session);
  const [edits, change] = useEdits(session, query);
  const [looked, setLooked] = useState<number | null>(null);
  const [isHeld, setHeld] = useHands(session, looked === null);
  const pinned = pins(query)
    .filter((one): one is string => one !== null && one.slice(0, one.lastIndexOf("#")) === dictionary)
    .map((one) => Number(one.slice(one.lastIndexOf("#") + 1)));
  const followed = [...new Set([...pinned, ...edits.map((one) => one.feature)])];
  useEffect(() => session.pin(followed), [session, followed.join()]);

  const { hello, now } = session;
  const seen = (looked === null ? null : nearest(session.past, looked)) ?? now;
  const header = seen?.header ?? null;
  const isSteered = header !== null && (header.edits.length > 0 || header.diverged !== null || isHeld);
  // Told the step: a key changes a slider and lets go of it at once.
  const drop = (step: number): void => {
    if (now && step < now.header.step) session.rewind(step);
    setLooked(null);
  };
  return (
    <div class={`live${isSteered ? " steered" : ""}`} data-rate={session.rate.toFixed(1)} data-latency={session.latency?.toFixed(0) ?? ""} data-step={header?.step ?? ""} data-seed={header?.seed ?? ""} data-drawn={now?.header.n ?? ""} data-diverged={header?.diverged ?? ""}>
      <h1>
        Live <Dictionaries dictionary={dictionary} />
      </h1>
      <Standing session={session} />
      <Controls session={session} header={header} looked={looked} look={setLooked} drop={drop} isHeld={isHeld} hold={setHeld} />
      <div class="livegrid">
        <div class="stack">
          <Screens session={session} header={header} seen={seen} looked={looked !== null} hello={hello} isHeld={isHeld} />
          <Doing hello={hello} header={header} isHeld={isHeld} />
        </div>
        <div class="stack">
          <Now session={session} hello={hello} header={header} first={followed} dictionary={dictionary} edits={edits} change={change} />
          <Words session={session} header={header} />
        </div>
        <div class="stack">
          <Steering session={session} hello={hello} edits={edits} change={change} header={header} dictionary={dictionary} />
          <Keep session={session} header={header} />
        </div>
        <Lately session={session} header={header} dictionary={dictionary} followed={followed} look={setLooked} drop={drop} />
      </div>
    </div>
  );
}

// --- what the page follows ---------------------------------------------------------------------

/** Draws anew when the session has changed, but no faster than the beat. */
function useBeat(session: Session): void {
  const [, turn] = useState(0);
  useEffect(() => {
    let timer = 0;
    let last = 0;
    const beat = (): void => {
      timer = 0;
      last = performance.now();
      turn((before) => before + 1);
    };
    const stop = session.onChange(() => {
      if (!timer) timer = window.setTimeout(beat, Math.max(0, BEAT - (performance.now() - last)));
    });
    return () => {
      stop();
      window.clearTimeout(timer);
    };
  }, [session]);
}

type Change = (edits: Edit[]) => void;

/** The edits of this page: in its address, and with the agent. */
function useEdits(session: Session, query: URLSearchParams): [Edit[], Change] {
  const [edits, setEdits] = useState<Edit[]>([]);
  const written = useRef<string | null>(null);
  const timer = useRef(0);
  const change = (to: Edit[]): void => {
    setEdits(to);
    session.edit(to.filter((one) => NEUTRAL[one.kind] !== one.value));
    written.current = spell(to);
    // Browsers refuse addresses that change with every twitch of a slider.
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => amend({ edits: spell(to) || null, steer: null }), 400);
  };
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const [said, opened] = [query.get("edits") ?? "", query.get("steer")];
  useEffect(() => {
    if (said === (written.current ?? "") && opened === null) return;
    const found = said === (written.current ?? "") ? edits : readEdits(said);
    const index = Number(opened);
    const isNew = opened !== null && /^\d+$/.test(opened) && !found.some((one) => one.feature === index);
    change(isNew ? [...found, { feature: index, kind: "steer", value: 0 }] : found);
  }, [said, opened, session]);
  return [edits, change];
}

/** The keyboard: shortcuts of the page, and the controls of the agent while somebody holds them. */
function useHands(session: Session, isNow: boolean): [boolean, (to: boolean) => void] {
  // A hand holds one episode; asked of the session itself, whose news the page may not have drawn.
  const placeOf = (): string => `${session.starts}/${session.now?.header.ended ?? ""}`;
  const [heldAt, setHeldAt] = useState<string | null>(null);
  const isHeld = heldAt === placeOf();
  const down = useRef<string[]>([]);
  const hold = (to: boolean): void => {
    down.current = [];
    setHeldAt(to ? placeOf() : null);
    if (!to) session.act(null);
    else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  };
  useEffect(() => {
    const actionOf = (key: string): number | null => session.hello?.keys[key] ?? session.hello?.keys[key.toLowerCase()] ?? null;
    const idle = (): number | null => {
      const found = session.hello?.actions.names.findIndex((name) => name === "nothing" || name === "noop") ?? -1;
      return found < 0 ? null : found;
    };
    const isElsewhere = (event: KeyboardEvent): boolean => /^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName) || event.ctrlKey || event.metaKey || event.altKey;
    const pressed = (event: KeyboardEvent): void => {
      if (isElsewhere(event)) return;
      if (isHeld && event.key === "Escape") {
        hold(false);
        event.preventDefault();
        return;
      }
      const action = isHeld ? actionOf(event.key) : null;
      if (action !== null) {
        if (!event.repeat) down.current = [...down.current.filter((one) => one !== event.key), event.key];
        if (!event.repeat) session.act(action);
        event.preventDefault();
        return;
      }
      if (isHeld || !isNow || /^(BUTTON|A|SUMMARY)$/.test((event.target as HTMLElement).tagName)) return;
      const step = session.now?.header.step ?? 0;
      if (event.key === " ") {
        if (session.now?.header.playing) session.pause();
        else session.play();
      } else if (event.key === "ArrowRight" || event.key === ".") session.step(event.shiftKey ? 10 : 1);
      else if ((event.key === "ArrowLeft" || event.key === ",") && step > 0) {
        session.pause();
        session.rewind(Math.max(0, step - (event.shiftKey ? 10 : 1)));
      } else return;
      event.preventDefault();
    };
    const released = (event: KeyboardEvent): void => {
      if (!isHeld || !down.current.includes(event.key)) return;
      down.current = down.current.filter((one) => one !== event.key);
      const still = down.current.at(-1);
      // Where nothing can be done, it is done; elsewhere the last push lasts.
      const action = still === undefined ? idle() : actionOf(still);
      if (action !== null) session.act(action);
    };
    window.addEventListener("keydown", pressed);
    window.addEventListener("keyup", released);
    return () => {
      window.removeEventListener("keydown", pressed);
      window.removeEventListener("keyup", released);
    };
  }, [session, isHeld, isNow]);
  return [isHeld, hold];
}

function nearest(past: Map<number, Seen>, step: number): Seen | null {
  for (let at = step; at >= Math.max(0, step - 40); at -= 1) {
    const found = past.get(at);
    if (found) return found;
  }
  return null;
}

// --- the panels --------------------------------------------------------------------------------

function Dictionaries({ dictionary }: { dictionary: string }): JSX.Element {
  const study = useDocument<Overview>("overview").value;
  return (
    <select aria-label="Dictionary" value={dictionary} onChange={(event) => (location.hash = href("live", event.currentTarget.value))}>
      {(study?.dictionaries ?? [{ name: dictionary }]).map((one) => (
        <option key={one.name}>{one.name}</option>
      ))}
    </select>
  );
}

function Standing({ session }: { session: Session }): JSX.Element | null {
  if (session.standing === "gone") {
    return (
      <p class="quiet" role="status">
        Live play stands still: it joins again as soon as the server answers.
      </p>
    );
  }
  if (session.error !== null) {
    return (
      <div class="trouble" role="alert">
        <span>{session.error}</span>
        <button onClick={() => session.dismiss()}>Good</button>
      </div>
    );
  }
  if (!session.now) {
    return (
      <p class="quiet" role="status">
        The agent takes its place …
      </p>
    );
  }
  return null;
}

function Controls(props: { session: Session; header: Step | null; looked: number | null; look: (step: number | null) => void; drop: (step: number) => void; isHeld: boolean; hold: (to: boolean) => void }): JSX.Element {
  const { session, header, looked } = props;
  const { query } = usePlace();
  const last = session.now?.header.step ?? 0;
  const [seed, setSeed] = useState(Number(query.get("seed") ?? 0) || 0);
  const isPlaying = session.now?.header.playing ?? false;
  const isOver = session.now?.header.ended != null;
  const begin = (to: number): void => {
    setSeed(to);
    amend({ seed: to || null });
    session.start({ seed: to });
  };
  const mayHold = Object.keys(session.hello?.keys ?? {}).length > 0;
  return (
    <div class="livebar" role="group" aria-label="Play">
      <button onClick={() => (isPlaying ? session.pause() : session.play())} disabled={isOver} title="Space">
        {isPlaying ? "pause" : "play"}
      </button>
      <button onClick={() => session.step()} disabled={isOver} title="Right arrow; with Shift ten steps">
        step
      </button>
      <label class="rewind">
        <span class="quiet">back</span>
        <input
          type="range"
          aria-label="Go back through this episode"
          min="0"
          max={Math.max(1, last)}
          value={looked ?? last}
          disabled={header?.can_rewind === false || last === 0}
          onInput={(event) => {
            if (isPlaying) session.pause();
            props.look(Math.min(last, Number(event.currentTarget.value)));
          }}
          onChange={(event) => props.drop(Number(event.currentTarget.value))}
        />
        <output class="number">step {looked ?? header?.step ?? "–"}</output>
      </label>
      <button onClick={() => session.branch()} disabled={header?.action.twin == null} title="The twin becomes a copy of the agent as it is now: what follows is compared from here">
        branch here
      </button>
      <button aria-pressed={props.isHeld} disabled={!mayHold || isOver} onClick={() => props.hold(!props.isHeld)} title="Play in the agent's place by keyboard; Esc gives back">
        {props.isHeld ? "give back (Esc)" : "take the controls"}
      </button>
      <label>
        <select
          aria-label="Speed"
          value={query.get("fps") ?? "30"}
          onChange={(event) => {
            amend({ fps: event.currentTarget.value === "30" ? null : event.currentTarget.value });
            session.pace(Number(event.currentTarget.value));
          }}
        >
          {RATES.map((rate) => (
            <option key={rate} value={rate}>
              {rate} steps/s
            </option>
          ))}
        </select>
      </label>
      <form
        class="seed"
        onSubmit={(event) => {
          event.preventDefault();
          begin(seed);
        }}
      >
        <label>
          seed <input type="number" min="0" max="2147483647" value={seed} onInput={(event) => setSeed(Math.max(0, Math.floor(Number(event.currentTarget.value) || 0)))} />
        </label>
        <button type="submit">new episode</button>
        <button type="button" onClick={() => begin(seed + 1)}>
          next seed
        </button>
        <label title="Draw actions from the probabilities instead of taking the likeliest">
          <input
            type="checkbox"
            checked={query.get("sampled") === "1"}
            onChange={(event) => {
              amend({ sampled: event.currentTarget.checked ? 1 : null });
              session.start({ deterministic: !event.currentTarget.checked });
            }}
          />{" "}
          sampled
        </label>
        <label title="The same episode with the same noise, and nobody's interference">
          <input
            type="checkbox"
            checked={query.get("twin") !== "0"}
            onChange={(event) => {
              amend({ twin: event.currentTarget.checked ? null : 0 });
              session.start({ twin: event.currentTarget.checked });
            }}
          />{" "}
          twin
        </label>
      </form>
    </div>
  );
}

function Screens(props: { session: Session; header: Step | null; seen: Seen | null; looked: boolean; hello: Hello | null; isHeld: boolean }): JSX.Element {
  const { header, session } = props;
  const isEdited = header !== null && header.edits.length > 0;
  const has = header !== null && header.total.twin !== null;
  const tag = header?.held ? "BY HAND" : isEdited ? `STEERED ${header.edits.map(editWords).join(", ")}` : header && header.diverged !== null ? "STEERED BEFORE" : "";
  const rate = header?.playing ? `${session.rate.toFixed(0)} frames/s drawn` : "standing";
  return (
    <Panel title={header ? `Step ${header.step}` : "The agent"} note={`${rate}${session.latency === null ? "" : ` · the last change of the edits was seen after ${session.latency.toFixed(0)} ms`}. Space plays, arrows step and go back.`}>
      <div class={`screens${has ? " two" : ""}`}>
        <figure class={tag ? "edited" : ""}>
          <Screen session={session} row={0} seen={props.seen} isStill={props.looked} />
          {tag && <span class="tag">{tag}</span>}
          <figcaption>
            <b>agent</b> return <span class="number">{number(header?.total.agent, 4)}</span>
          </figcaption>
        </figure>
        {has && (
          <figure>
            <Screen session={session} row={1} seen={props.seen} isStill={props.looked} />
            <figcaption>
              <b>twin</b> <span class="quiet">same seed, untouched</span> return <span class="number">{number(header.total.twin, 4)}</span>
              {header.twin_ended && <span class="quiet">, {spoken(header.twin_ended)}</span>}
            </figcaption>
          </figure>
        )}
      </div>
      <p role="status">
        {header?.ended ? <b>The episode is over: {spoken(header.ended)}. </b> : null}
        {has && (header.diverged === null ? <span class="quiet">Agent and twin have done the same so far.</span> : <span class="diverged">They part at step {header.diverged}.</span>)}
      </p>
      {props.isHeld && <Keys hello={props.hello} />}
    </Panel>
  );
}

function Screen(props: { session: Session; row: number; seen: Seen | null; isStill: boolean }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const newest = useRef(0);
  const paint = async (seen: Seen): Promise<void> => {
    const picture = seen.pictures[props.row];
    const turn = (newest.current += 1);
    if (!picture) return;
    const bitmap = await createImageBitmap(picture);
    const target = canvas.current;
    if (target && turn === newest.current) {
      if (target.width !== bitmap.width) target.width = bitmap.width;
      if (target.height !== bitmap.height) target.height = bitmap.height;
      target.getContext("2d")?.drawImage(bitmap, 0, 0);
    }
    bitmap.close();
  };
  useEffect(() => (props.isStill ? undefined : props.session.onDraw(paint)), [props.session, props.isStill]);
  useEffect(() => {
    if (props.isStill && props.seen) void paint(props.seen);
  }, [props.isStill, props.seen]);
  return <canvas ref={canvas} class="frame" role="img" aria-label={props.row ? "What the twin's world looks like" : "What the agent's world looks like"} />;
}

function Keys({ hello }: { hello: Hello | null }): JSX.Element {
  const said: Record<string, string> = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };
  const isDigit = (key: string): boolean => /^\d$/.test(key);
  const keys = Object.entries(hello?.keys ?? {});
  const named = new Set(keys.filter(([key]) => !isDigit(key)).map(([, action]) => action));
  const shown = keys.filter(([key, action]) => !isDigit(key) || !named.has(action));
  return (
    <p class="keys">
      You play:{" "}
      {shown.map(([key, action]) => (
        <span key={key}>
          <kbd>{said[key] ?? key}</kbd> {hello?.actions.names[action] ?? action}
        </span>
      ))}
      <span>
        <kbd>Esc</kbd> gives back
      </span>
    </p>
  );
}

function editWords(edit: Edit): string {
  if (edit.kind === "ablate") return `#${edit.feature} off`;
  if (edit.kind === "steer") return `#${edit.feature} ${signed(edit.value)}`;
  return `#${edit.feature} ${edit.kind === "clamp" ? "=" : "×"} ${number(edit.value)}`;
}

function Steering(props: { session: Session; hello: Hello | null; edits: Edit[]; change: Change; header: Step | null; dictionary: string }): JSX.Element {
  const { hello, edits, change } = props;
  const [asked, ask] = useState("");
  const replace = (at: number, one: Edit): void => change(edits.map((old, index) => (index === at ? one : old)));
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  const found = useMemo(
    () =>
      words.length
        ? Object.entries(hello?.labels ?? {})
            .filter(([index, label]) => words.every((word) => `#${index} ${label}`.toLowerCase().includes(word)))
            .slice(0, 20)
        : [],
    [hello, asked],
  );
  const add = (event: Event): void => {
    event.preventDefault();
    const said = /^#?(\d+)/.exec(asked.trim())?.[1] ?? found[0]?.[0];
    if (said === undefined) return;
    const feature = Number(said);
    if (hello && feature >= hello.width) return;
    if (!edits.some((one) => one.feature === feature)) change([...edits, { feature, kind: "steer", value: 0 }]);
    ask("");
  };
  const isActive = edits.length > 0;
  const python = `study.sweep("${props.dictionary}", features=[${edits.map((one) => one.feature).join(", ")}], alphas=[${edits.map((one) => one.value).join(", ")}])`;
  return (
    <Panel title="Steer" note="One unit is the feature's own maximum on the recording." take={isActive ? { python } : {}}>
      <form class="labelling" onSubmit={add}>
        <input aria-label="Feature to steer, by number or label" list="features-to-steer" placeholder="number or label" value={asked} onInput={(event) => ask(event.currentTarget.value)} />
        <datalist id="features-to-steer">
          {found.map(([index, label]) => (
            <option key={index} value={`${index} ${label}`} />
          ))}
        </datalist>
        <button type="submit">Add</button>
        <button type="button" class="reset" disabled={!isActive} onClick={() => change([])}>
          reset all
        </button>
      </form>
      {!isActive && <p class="quiet">Nothing is touched. Choose a feature here, or “steer” in the list.</p>}
      {edits.map((one, at) => {
        const [low, high, unit] = RANGE[one.kind];
        const most = hello?.max[one.feature] ?? null;
        return (
          <div class="edit" key={one.feature}>
            <span class="who">
              <FeatureName dictionary={props.dictionary} index={one.feature} /> <span class="said" title={hello?.labels[one.feature]}>{hello?.labels[one.feature] ?? ""}</span>
            </span>
            <select
              aria-label={`What is done to ${one.feature}`}
              value={one.kind}
              onChange={(event) => {
                const kind = event.currentTarget.value as EditKind;
                replace(at, { feature: one.feature, kind, value: kind === "ablate" ? 0 : kind === "steer" ? 0 : 1 });
              }}
            >
              <option value="steer">steer</option>
              <option value="clamp">clamp</option>
              <option value="scale">scale</option>
              <option value="ablate">ablate</option>
            </select>
            <button aria-label={`Let go of ${one.feature}`} onClick={() => change(edits.filter((_, index) => index !== at))}>
              ×
            </button>
            {one.kind !== "ablate" && (
              <input
                type="range"
                aria-label={`${one.kind} ${one.feature}, ${unit}`}
                aria-valuetext={`${number(one.value)} ${unit}`}
                min={low}
                max={high}
                step="0.05"
                value={one.value}
                onInput={(event) => replace(at, { ...one, value: Number(event.currentTarget.value) })}
                onDblClick={() => replace(at, { ...one, value: NEUTRAL[one.kind] ?? one.value })}
              />
            )}
            <span class="unit">
              <b class="number">{one.kind === "ablate" ? "off" : one.kind === "steer" ? signed(one.value) : number(one.value)}</b> <span class="quiet">{unit}{most !== null && one.kind !== "ablate" && one.kind !== "scale" ? ` (${number(one.value * most)})` : ""}</span>
            </span>
          </div>
        );
      })}
    </Panel>
  );
}

function Now(props: { session: Session; hello: Hello | null; header: Step | null; first: number[]; dictionary: string; edits: Edit[]; change: Change }): JSX.Element {
  const { session, hello, header, edits } = props;
  const shelf = useMemo(() => new Shelf(MOST_SHOWN), [session]);
  const [, turn] = useState(0);
  useEffect(() => session.onDraw(({ header: one }) => shelf.see(one.features)), [session, shelf]);
  useEffect(() => shelf.clear(), [session.starts]);
  const shown = shelf.shown(props.first);
  const now = new Map((header?.features ?? []).map(([index, code, share]) => [index, [code, share] as const]));
  return (
    <Panel title="Features now" note="Bars: share of the feature's own maximum. Pinned and steered ones first; the others keep their place until something fires clearly more.">
      <p class="tools">
        <button
          onClick={() => {
            shelf.sort();
            turn((before) => before + 1);
          }}
        >
          sort by strength
        </button>{" "}
        <span class="quiet">{header ? `${plural(header.features.filter(([, code]) => code > 0).length, "feature")} of ${hello?.width ?? "–"} shown as firing` : ""}</span>
      </p>
      <div class="nows">
        {shown.map((index) => {
          const [code, share] = now.get(index) ?? [0, 0];
          const colour = colourOf(addressOf(props.dictionary, index));
          const isEdited = edits.some((one) => one.feature === index);
          return (
            <div class={`now${isEdited ? " edited" : ""}`} key={index}>
              <Pin address={addressOf(props.dictionary, index)} />
              <span class="who">
                <FeatureName dictionary={props.dictionary} index={index} /> <span class="said" title={hello?.labels[index]}>{hello?.labels[index] ?? ""}</span>
              </span>
              <span class={`share${colour === null ? "" : ` p${colour} coloured`}`} title={`${percent(share)} of its maximum`}>
                <span style={{ width: `${100 * Math.min(1, Math.max(0, share))}%` }} />
              </span>
              <span class="number">{code > 0 ? number(code, 2) : ""}</span>
              <button aria-label={`Steer ${index}`} disabled={isEdited} onClick={() => props.change([...edits, { feature: index, kind: "steer", value: 0 }])}>
                steer
              </button>
            </div>
          );
        })}
      </div>
      {shown.length === 0 && <p class="quiet">Nothing fires.</p>}
    </Panel>
  );
}

function Doing({ hello, header, isHeld }: { hello: Hello | null; header: Step | null; isHeld: boolean }): JSX.Element {
  const actions = hello?.actions ?? null;
  const worths = header?.probabilities ? null : (header?.values ?? null);
  const known = (worths ?? []).filter((one): one is number => one !== null);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const does = (action: Action | null | undefined, index: number): boolean => action === index;
  const many = header && Array.isArray(header.action.agent) ? header.action.agent : null;
  const twin = header && Array.isArray(header.action.twin) ? header.action.twin : null;
  return (
    <Panel title="What it does" note={many ? "Bars run from −1 to 1; ○ is the twin's." : `● done${isHeld ? " by you" : ""} · ○ done by the twin${header?.probabilities ? " · bars: the agent's probabilities as edited" : worths ? " · bars: what the agent as edited holds actions to be worth, worst to best" : ""}.`}>
      <div class="doing">
        {many
          ? many.map((value, index) => (
              <p class="barline" key={index}>
                <span>{actions?.names[index] ?? index}</span>
                <span class="share">
                  <span style={{ marginLeft: `${50 + 50 * Math.max(-1, Math.min(0, value))}%`, width: `${50 * Math.min(1, Math.abs(value))}%` }} />
                </span>
                <span class="number">
                  {signed(value)}
                  {twin && ` ○ ${signed(twin[index] ?? null)}`}
                </span>
              </p>
            ))
          : (actions?.names ?? []).map((name, index) => {
              const worth = worths?.[index] ?? null;
              const share = header?.probabilities?.[index] ?? (worth === null || !(most > least) ? null : (worth - least) / (most - least));
              return (
                <p class={`barline${does(header?.action.agent, index) ? " done" : ""}`} key={index}>
                  <span>
                    <i class="mark">{does(header?.action.agent, index) ? "●" : ""}</i>
                    <i class="mark">{does(header?.action.twin, index) ? "○" : ""}</i> {name}
                  </span>
                  <span class="share">
                    <span style={{ width: `${100 * (share ?? (does(header?.action.agent, index) ? 1 : 0))}%` }} />
                  </span>
                  <span class="number">{worth !== null ? number(worth) : share === null ? "" : percent(share)}</span>
                </p>
              );
            })}
      </div>
      <p class="facts">
        {[["value", header?.value], ["entropy", header?.entropy], ["reward", header?.reward]].map(([name, value]) => (
          <span key={name as string}>
            <span class="quiet">{name}</span> <span class="number">{number(value as Known)}</span>
          </span>
        ))}
      </p>
      <Metrics header={header} />
    </Panel>
  );
}

function Metrics({ header }: { header: Step | null }): JSX.Element | null {
  const metrics = Object.entries(header?.metrics ?? {});
  if (!metrics.length) return null;
  const hasTwin = header?.total.twin != null;
  return (
    <details>
      <summary>{plural(metrics.length, "metric")}</summary>
      <table>
        <tbody>
          {metrics.map(([name, value]) => (
            <tr key={name}>
              <th>{spoken(name)}</th>
              <td class="number">{number(value, 4)}</td>
              <td class="number quiet">{hasTwin ? `twin ${number(header?.metrics_twin[name], 4)}` : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function Lately(props: { session: Session; header: Step | null; dictionary: string; followed: number[]; look: (step: number) => void; drop: (step: number) => void }): JSX.Element {
  const { session, header, dictionary } = props;
  const all = [...session.past.values()];
  const seen = all.slice(-STEPS_SHOWN);
  const lane = (of: (one: Step) => number | null | undefined): (number | null)[] => seen.map((one) => of(one.header) ?? null);
  const has = (values: (number | null)[]): boolean => values.some((value) => value !== null);
  const share = (one: Step, index: number): number => one.features.find(([feature]) => feature === index)?.[2] ?? 0;
  const traces: Trace[] = [
    { name: "reward", colour: "accent", values: lane((one) => one.reward) },
    { name: "value", colour: "accent", values: lane((one) => one.value) },
    { name: "entropy", colour: "accent", values: lane((one) => one.entropy) },
    ...props.followed.slice(0, 8).map((index): Trace => {
      const colour = colourOf(addressOf(dictionary, index));
      return { name: `#${index}`, colour: colour === null ? "warn" : `p${colour}`, values: lane((one) => share(one, index)) };
    }),
  ].filter((one) => has(one.values));
  const marks = [
    ...(header?.edited_at == null ? [] : [{ step: header.edited_at, name: "edited", colour: "warn" }]),
    ...(header?.diverged == null ? [] : [{ step: header.diverged, name: "they part", colour: "bad" }]),
  ];
  const csv = (): (string | number | null)[][] => [
    ["step", "reward", "value", "entropy", "return", "return_twin", ...props.followed.map((index) => `feature_${index}`)],
    ...all.map(({ header: one }) => [one.step, one.reward, one.value, one.entropy, one.total.agent, one.total.twin, ...props.followed.map((index) => share(one, index))]),
  ];
  return (
    <Panel title="The last steps" wide note={`The last ${STEPS_SHOWN} steps. Drag to look back; letting go takes the agent back there. Pinned and steered features have lanes, as shares of their maxima.`} take={{ csv }}>
      <Traces
        traces={traces}
        steps={seen.map((one) => one.header.step)}
        at={header?.step ?? 0}
        marks={marks}
        onDrag={(step) => {
          if (session.now?.header.can_rewind === false) return;
          if (session.now?.header.playing) session.pause();
          props.look(step);
        }}
        onDrop={props.drop}
      />
    </Panel>
  );
}

function Words({ session, header }: { session: Session; header: Step | null }): JSX.Element {
  return (
    <Panel title="Why, in words" note="From the labels of what fires most and what is done then: a reading, not a proof. Sweeps say what causes what.">
      <p class="words">{header?.words || <span class="quiet">–</span>}</p>
      <ModelCaption session={session} />
    </Panel>
  );
}

function Keep({ session, header }: { session: Session; header: Step | null }): JSX.Element {
  const [name, setName] = useState("");
  const usual = `seed${header?.seed ?? 0}`;
  return (
    <Panel title="Keep it" note="What was edited when, what was done by hand and what came of it, so that it can be looked at again.">
      <form
        class="labelling"
        onSubmit={(event) => {
          event.preventDefault();
          session.save(name.trim() || usual);
        }}
      >
        <input aria-label="Name of the experiment" placeholder={usual} maxLength={60} value={name} onInput={(event) => setName(event.currentTarget.value)} />
        <button type="submit" disabled={!header}>
          Save as experiment
        </button>
      </form>
      {session.saved && (
        <p role="status">
          Kept as <a href={href("x", session.saved.replace(/^experiments?\//, ""))}>{session.saved}</a>.
        </p>
      )}
    </Panel>
  );
}
