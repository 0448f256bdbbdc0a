/** One episode: its frames, lanes over time, a step to scrub and a window to ask what sets it apart. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { EpisodePage, Overview, Window } from "../documents";
import { number, plural, spoken } from "../format";
import { FeatureName, useFrame } from "../parts/feature";
import { Lanes } from "../parts/lanes";
import type { Lane } from "../parts/lanes";
import { Load, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { amend, href, ofFeature, usePlace } from "../router";
import { colourOf, pins } from "../state";

export function Player({ rest }: { rest: string }): JSX.Element {
  const [recording, index] = ofFeature(rest);
  const { query } = usePlace();
  const study = useDocument<Overview>("overview").value;
  const pinned = pins(query).filter((one): one is string => one !== null);
  const asked = pinned.length ? `?features=${pinned.map(encodeURIComponent).join(",")}` : "";
  return <Load<EpisodePage> path={`episode/${recording}/${index}${asked}`}>{(episode) => <Playing episode={episode} study={study} />}</Load>;
}

function Playing({ episode, study }: { episode: EpisodePage; study: Overview | null }): JSX.Element {
  const { query } = usePlace();
  const at = Math.min(episode.length - 1, Math.max(0, Number(query.get("t") ?? 0)));
  const [isPlaying, setPlaying] = useState(false);
  const [direction, setDirection] = useState(1);
  const said = query.get("w")?.split("-").map(Number);
  const chosen: [number, number] | null = said && said.length === 2 ? [said[0] ?? 0, said[1] ?? 0] : null;
  const dictionary = query.get("d") ?? study?.dictionaries[0]?.name ?? "";
  const canvas = useFrame(episode.clip, at);
  const move = (step: number): void => amend({ t: Math.min(episode.length - 1, Math.max(0, step)) });

  useEffect(() => {
    if (!isPlaying) return undefined;
    let step = at;
    const timer = window.setInterval(() => {
      step += direction;
      if (step < 0 || step >= episode.length) setPlaying(false);
      else move(step);
    }, 40);
    return () => window.clearInterval(timer);
  }, [isPlaying, direction, episode]);
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (/^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName) || event.ctrlKey || event.metaKey) return;
      const far = event.shiftKey ? 10 : 1;
      if (event.key === "ArrowRight") move(at + far);
      else if (event.key === "ArrowLeft") move(at - far);
      else if (event.key === " ") setPlaying((now) => !now);
      else if (event.key === "Home") move(0);
      else if (event.key === "End") move(episode.length - 1);
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [at, episode]);

  const lanes: Lane[] = [
    ...Object.entries(episode.features).map(([address, values]): Lane => ({ name: address, values, colour: `p${colourOf(address) ?? 0}` })),
    ...episode.groups.flatMap((group) =>
      group.lanes.map((name): Lane => ({ name: spoken(name), values: episode.lanes[name] ?? [], isChoice: name === "action" && episode.actions.kind === "discrete" })),
    ),
  ];
  const action = episode.lanes["action"]?.[at];
  return (
    <>
      <h1>
        <a href={href("episodes", episode.recording)}>{episode.recording}</a> <small>episode {episode.index}</small>
      </h1>
      <p class="lead">
        {plural(episode.length, "step")}, return {number(episode.return, 4)}, {spoken(episode.ending)}, seed {episode.seed}.{" "}
        <span class="tools">
          <a class="button" href={href("ep", `${episode.recording}/${Math.max(0, episode.index - 1)}`)}>
            ← before
          </a>
          <a class="button" href={href("ep", `${episode.recording}/${episode.index + 1}`)}>
            next →
          </a>
        </span>
      </p>
      <div class="player">
        <Panel title={`Step ${at}`} note="Space plays, arrows step (with Shift by ten), Home and End jump.">
          {episode.clip ? (
            <canvas ref={canvas} class="frame" />
          ) : (
            <p class="quiet">
              No pictures are stored. <code>policyscope frames STUDY --recording {episode.recording} --episode {episode.index}</code>
            </p>
          )}
          <div class="controls">
            <button
              aria-label="Play backwards"
              onClick={() => {
                setDirection(-1);
                setPlaying(true);
              }}
            >
              ◀
            </button>
            <button aria-label={isPlaying ? "Pause" : "Play"} onClick={() => (setDirection(1), setPlaying(!isPlaying))}>
              {isPlaying ? "⏸" : "▶"}
            </button>
            <input type="range" aria-label="Step" min="0" max={episode.length - 1} value={at} onInput={(event) => move(Number(event.currentTarget.value))} />
          </div>
          <p>
            action <b>{action === null || action === undefined ? "–" : episode.actions.kind === "discrete" ? (episode.actions.names[action] ?? action) : number(action)}</b>
          </p>
        </Panel>
        <Panel
          title="Lanes"
          note="Drag to choose a window; pinned features have lanes in their colours."
          take={{
            csv: () => [["step", ...Object.keys(episode.lanes), ...Object.keys(episode.features)], ...Array.from({ length: episode.length }, (_, t) => [t, ...Object.values(episode.lanes).map((lane) => lane[t] ?? null), ...Object.values(episode.features).map((lane) => lane[t] ?? null)])],
            python: `study.recording("${episode.recording}").episode(${episode.index})`,
          }}
        >
          <Lanes lanes={lanes} length={episode.length} at={at} window={chosen} events={episode.events} onStep={move} onWindow={(found) => amend({ w: found ? `${found[0]}-${found[1]}` : null })} />
          {chosen && dictionary && (
            <>
              <h3>
                What sets steps {chosen[0]} to {chosen[1]} apart{" "}
                <select aria-label="Dictionary" value={dictionary} onChange={(event) => amend({ d: event.currentTarget.value })}>
                  {(study?.dictionaries ?? []).map((one) => (
                    <option key={one.name}>{one.name}</option>
                  ))}
                </select>
              </h3>
              <Load<Window> path={`window/${episode.recording}/${episode.index}?dictionary=${encodeURIComponent(dictionary)}&from=${chosen[0]}&to=${chosen[1]}`}>
                {(found) => (
                  <table>
                    <tbody>
                      {found.features.slice(0, 12).map((one) => (
                        <tr key={one.index}>
                          <td>
                            <FeatureName dictionary={dictionary} index={one.index} label={one.label} />
                          </td>
                          <td class="number">{number(one.inside)} here</td>
                          <td class="number">{number(one.outside)} elsewhere</td>
                          <td class="number">{number(one.score, 2)} deviations</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                )}
              </Load>
            </>
          )}
        </Panel>
      </div>
    </>
  );
}
