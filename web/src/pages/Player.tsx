/** One episode: its frames, lanes over time, a step to scrub and a window to ask what sets it apart. */

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";

import type { EpisodePage, EpisodeTable, Overview, Window } from "../documents";
import { number, plural, signed, spoken } from "../format";
import { FeatureName, Pin, addressOf, useFrame } from "../parts/feature";
import { Lanes, lanesSvg } from "../parts/lanes";
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
  // One that was fitted on this recording reads what the recording holds.
  const dictionary = query.get("d") ?? (study?.dictionaries.find((one) => one.recording === episode.recording) ?? study?.dictionaries[0])?.name ?? "";
  const others = useDocument<EpisodeTable>(`episodes/${episode.recording}`).value?.episodes.map((one) => one.index) ?? [];
  const place = others.indexOf(episode.index);
  const canvas = useFrame(episode.clip, at);
  const choose = (found: [number, number] | null): void => amend({ w: found ? `${found[0]}-${found[1]}` : null });
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
  // At once, so that the next key finds what this one has changed.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (/^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName) || event.ctrlKey || event.metaKey) return;
      const far = event.shiftKey ? 10 : 1;
      if (event.key === "ArrowRight") move(at + far);
      else if (event.key === "ArrowLeft") move(at - far);
      else if (event.key === " ") setPlaying((now) => !now);
      else if (event.key === "Home") move(0);
      else if (event.key === "End") move(episode.length - 1);
      else if (event.key === "[") choose([at, Math.max(at, chosen?.[1] ?? at)]);
      else if (event.key === "]") choose([Math.min(at, chosen?.[0] ?? at), at]);
      else if (event.key === "Escape" && chosen) choose(null);
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [at, episode, chosen?.join()]);

  const units = study?.recordings.find((one) => one.name === episode.recording)?.units ?? {};
  const lanes: Lane[] = [
    ...Object.entries(episode.features).map(([address, values]): Lane => ({ name: address, values, colour: `p${colourOf(address) ?? 0}` })),
    ...episode.groups.flatMap((group) =>
      group.lanes.map((name): Lane => ({ name: spoken(name), ...(units[name] ? { unit: units[name] } : {}), values: episode.lanes[name] ?? [], ...(name === "action" && episode.actions.kind === "discrete" ? { names: episode.actions.names } : {}) })),
    ),
  ];
  const shown = { lanes, length: episode.length, at, window: chosen, events: episode.events.map((one) => ({ ...one, name: spoken(one.name) })) };
  const action = episode.lanes["action"]?.[at];
  const happening = episode.events.filter((one) => one.steps.some(([from, to]) => from <= at && at <= to)).map((one) => spoken(one.name));
  return (
    <>
      <h1>
        <a href={href("episodes", episode.recording)}>{episode.recording}</a> <small>episode {episode.index}</small>
      </h1>
      <p class="lead">
        {plural(episode.length, "step")}, return {number(episode.return, 4)}, {spoken(episode.ending)}, seed {episode.seed}.{" "}
        <span class="tools">
          {place > 0 && (
            <a class="button" href={href("ep", `${episode.recording}/${others[place - 1]}`)}>
              ← before
            </a>
          )}
          {place >= 0 && place + 1 < others.length && (
            <a class="button" href={href("ep", `${episode.recording}/${others[place + 1]}`)}>
              next →
            </a>
          )}
        </span>
      </p>
      <div class="player">
        <Panel id="frame" title={`Step ${at}`} take={{ python: `study.recording("${episode.recording}").episode(${episode.index})` }} note="Space plays, arrows step (with Shift by ten), Home and End jump.">
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
            {happening.length > 0 && <span class="quiet"> · {happening.join(", ")}</span>}
          </p>
        </Panel>
        <Panel
          title="Lanes"
          note={`Drag over the lanes, or press [ and ] at its first and last step, to choose a window and see which features set it apart; Esc lets go of it. ${pins(query).length ? "Pinned features have lanes in their colours." : "Pin a feature (●) and it has a lane of its own here."}`}
          take={{
            svg: () => lanesSvg(shown),
            csv: () => [["step", ...Object.keys(episode.lanes), ...Object.keys(episode.features)], ...Array.from({ length: episode.length }, (_, t) => [t, ...Object.values(episode.lanes).map((lane) => lane[t] ?? null), ...Object.values(episode.features).map((lane) => lane[t] ?? null)])],
            python: `study.recording("${episode.recording}").episode(${episode.index})`,
          }}
        >
          <Lanes {...shown} onStep={move} onWindow={choose} />
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
                    {found.features.length > 0 && (
                      <thead>
                        <tr>
                          <th>feature</th>
                          <th class="number">mean here</th>
                          <th class="number">elsewhere</th>
                          <th class="number" title="Difference of the means, in standard deviations over the episode">
                            difference (sd)
                          </th>
                        </tr>
                      </thead>
                    )}
                    <tbody>
                      {found.features.length === 0 && (
                        <tr>
                          <td class="quiet">No feature of {dictionary} differs between these steps and the others.</td>
                        </tr>
                      )}
                      {found.features.slice(0, 12).map((one) => (
                        <tr key={one.index}>
                          <td>
                            <span class="pinnable">
                              <Pin address={addressOf(dictionary, one.index)} />
                              <FeatureName dictionary={dictionary} index={one.index} label={one.label} />
                            </span>
                          </td>
                          <td class="number">{number(one.inside)}</td>
                          <td class="number">{number(one.outside)}</td>
                          <td class="number">{signed(one.score, 1)}</td>
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
