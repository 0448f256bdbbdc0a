/** The episodes of a recording, by return, length and ending. */

import type { JSX } from "preact";
import { useContext } from "preact/hooks";

import type { EpisodeTable, Overview } from "../documents";
import { count, number, plural, spoken } from "../format";
import { Another } from "../parts/feature";
import { Data, Load, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { amend, href, usePlace } from "../router";

function Recordings({ recording }: { recording: string }): JSX.Element {
  const study = useDocument<Overview>("overview").value;
  return <Another page="episodes" what="Recording" dictionary={recording} known={study?.recordings.map((one) => one.name) ?? []} />;
}

type Key = "index" | "return" | "length" | "ending";

export function Episodes({ recording }: { recording: string }): JSX.Element {
  const { query } = usePlace();
  const canOpen = useContext(Data).kind !== "file";
  const sort = (query.get("sort") ?? "index") as Key;
  const sign = query.get("down") === "1" ? -1 : 1;
  const ending = query.get("ending") ?? "";
  return (
    <Load<EpisodeTable> path={`episodes/${recording}`}>
      {(table) => {
        const rows = table.episodes.filter((one) => !ending || one.ending === ending);
        rows.sort((a, b) => (a[sort] < b[sort] ? -sign : a[sort] > b[sort] ? sign : a.index - b.index));
        const endings = [...new Set(table.episodes.map((one) => one.ending))].sort();
        const longest = Math.max(1, ...table.episodes.map((one) => one.length));
        const head = (key: Key, said: string): JSX.Element => (
          <th class={key === "ending" ? "" : "number"} aria-sort={sort === key ? (sign < 0 ? "descending" : "ascending") : "none"}>
            <button onClick={() => amend(sort === key ? { down: sign > 0 ? "1" : null } : { sort: key, down: null })}>
              {said}
              {sort === key ? (sign < 0 ? " ▾" : " ▴") : ""}
            </button>
          </th>
        );
        return (
          <>
            <h1>
              Episodes <Recordings recording={table.recording} />
            </h1>
            <p class="lead">What was recorded, episode by episode. Open one to see its frames, its lanes over time, and which features set a window of it apart.</p>
            <div class="facets">
              <select aria-label="Ending" value={ending} onChange={(event) => amend({ ending: event.currentTarget.value || null })}>
                <option value="">any ending</option>
                {endings.map((one) => (
                  <option key={one} value={one}>
                    {spoken(one)}
                  </option>
                ))}
              </select>
              <span class="quiet" role="status">
                {plural(rows.length, "episode")}
              </span>
            </div>
            <Panel id="episodes" title={plural(rows.length, "episode")} wide take={{ python: `study.recording("${table.recording}").episodes`, csv: () => [["episode", "seed", "return", "length", "ending"], ...rows.map((one) => [one.index, one.seed, one.return, one.length, one.ending])] }} note="▣ has pictures. To store more: policyscope frames STUDY --episode N">
              <table>
                <thead>
                  <tr>
                    {head("index", "episode")}
                    {head("return", "return")}
                    {head("length", "steps")}
                    <th style={{ width: "30%" }} />
                    {head("ending", "ending")}
                    <th class="number">seed</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.slice(0, 1000).map((one) => (
                    <tr key={one.index}>
                      <td class="number">
                        <a href={canOpen ? href("ep", `${table.recording}/${one.index}`) : undefined}>
                          {one.frames > 0 && "▣ "}
                          {one.index}
                        </a>
                      </td>
                      <td class="number">{number(one.return, 4)}</td>
                      <td class="number">{count(one.length)}</td>
                      <td>
                        <span class="share">
                          <span style={{ width: `${(100 * one.length) / longest}%` }} />
                        </span>
                      </td>
                      <td>{one.ended ? spoken(one.ending) : <span class="quiet">cut by the recording</span>}</td>
                      <td class="number quiet">{one.seed}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {rows.length > 1000 && <p class="quiet">The first thousand of {count(rows.length)}.</p>}
            </Panel>
          </>
        );
      }}
    </Load>
  );
}
