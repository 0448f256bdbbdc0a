/** The study at a glance: the network, what was recorded, what was fitted, and what to do next. */

import type { JSX } from "preact";
import { useContext } from "preact/hooks";

import type { DictionaryRow, Overview as Document } from "../documents";
import { count, kept, number, percent, plural, spoken } from "../format";
import { Data, Load } from "../parts/load";
import { Copy, Panel } from "../parts/panel";
import { href } from "../router";

export function Overview(): JSX.Element {
  return (
    <Load<Document> path="overview">
      {(study) => (
        <>
          <h1>
            {study.agent.name} <small>in {study.environment.id}</small>
          </h1>
          <p class="lead">
            {study.agent.algorithm ?? "An agent"} of {count(study.agent.parameters)} parameters
            {study.evaluation &&
              `, return ${number(study.evaluation.return_mean)} [${number(study.evaluation.low)}, ${number(study.evaluation.high)}] over ${plural(study.evaluation.episodes, "episode")}`}
            .
          </p>
          <div class="grid two">
            <div class="stack">
              <Next study={study} />
              <Network study={study} />
              <Recordings study={study} />
            </div>
            <div class="stack">
              <Environment study={study} />
              <Endings study={study} />
            </div>
            <Dictionaries rows={study.dictionaries} study={study.name} />
            <Tried study={study} />
          </div>
        </>
      )}
    </Load>
  );
}

/** A box of numbers in words; other spaces as they say themselves. */
function seen(space: string): string {
  const [, shape, kind] = /^Box\(.*\(([\d, ]+)\), (\w+)\)$/s.exec(space) ?? [];
  if (!shape) return space;
  const sizes = shape.split(",").map((one) => one.trim()).filter(Boolean);
  return `${sizes.join(" × ")} numbers, ${kind}`;
}

function Network({ study }: { study: Document }): JSX.Element {
  return (
    <Panel title="Network" take={{ python: `study = ps.Study.open("${study.name}")\nprint(study.inspect())` }} note="● recorded · ○ suggested. A site is what goes in or comes out of a module: its path with :in or :out, and the shape of one step.">
      <div class="scroll">
      <table class="tree">
        <thead>
          <tr>
            <th>module</th>
            <th>type</th>
            <th class="number">parameters</th>
            <th>part</th>
            <th>site</th>
          </tr>
        </thead>
        <tbody>
          {study.modules.map((module) => (
            <tr key={module.path}>
              <td style={{ paddingLeft: `${0.4 + module.depth}rem` }}>{module.path.split(".").at(-1) || "(agent)"}</td>
              <td class="quiet">{module.type}</td>
              <td class="number">{module.parameters ? count(module.parameters) : ""}</td>
              <td>{module.role && <span class={`role ${module.role}`}>{module.role}</span>}</td>
              <td>
                {module.sites.map((site) => (
                  <code key={site.address} title={`${site.address}${site.recorded ? ", recorded" : site.suggested ? ", suggested" : ""}`}>
                    {site.recorded ? "● " : site.suggested ? "○ " : ""}
                    {brief(site.address)} {site.shape.join("×")}
                  </code>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      </div>
    </Panel>
  );
}

/** An address by its last part: what comes before it is the module's place in the tree. */
function brief(address: string): string {
  const cut = address.lastIndexOf(".");
  return cut < 0 ? address : `…${address.slice(cut + 1)}`;
}

function Next({ study }: { study: Document }): JSX.Element | null {
  if (!study.next.length) return null;
  return (
    <Panel title="What to do next">
      <ul class="next">
        {study.next.map((step) => (
          <li key={step.command}>
            {step.why}
            <span class="command">
              <code>{step.command}</code> <Copy what="command" text={() => step.command} />
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Environment({ study }: { study: Document }): JSX.Element {
  const { environment, agent, evaluation } = study;
  const { kind, names } = environment.actions;
  return (
    <Panel title="Agent and environment" take={{ python: `study = ps.Study.open("${study.name}")\nprint(study.evaluate())` }}>
      <table class="facts-table">
        <tbody>
          <tr>
            <th>agent</th>
            <td>
              {agent.name}
              {agent.algorithm && ` (${agent.algorithm})`}, {plural(agent.parameters, "parameter")}
            </td>
          </tr>
          <tr>
            <th>environment</th>
            <td>
              {environment.id}
              {names.length === 0 && <p class="warning">It cannot be made here: policyscope doctor says what is missing. What was recorded can be looked at.</p>}
            </td>
          </tr>
          {environment.observation && (
            <tr>
              <th>it sees</th>
              <td>
                <span title={environment.observation}>{seen(environment.observation)}</span>
              </td>
            </tr>
          )}
          {names.length > 0 && (
            <tr>
              <th>{kind === "discrete" ? "it chooses" : "it sets"}</th>
              <td>{names.join(" · ")}</td>
            </tr>
          )}
          <tr>
            <th>return</th>
            <td>
              {evaluation ? (
                `${number(evaluation.return_mean)} [${number(evaluation.low)}, ${number(evaluation.high)}] over ${plural(evaluation.episodes, "episode")}`
              ) : (
                <span class="quiet">
                  not evaluated: <code>policyscope evaluate STUDY</code>
                </span>
              )}
            </td>
          </tr>
        </tbody>
      </table>
    </Panel>
  );
}

/** What was tried: the newest word of every experiment. */
function Tried({ study }: { study: Document }): JSX.Element {
  const rows = study.experiments;
  return (
    <Panel title="Experiments" wide note="A sweep steers features and measures the return; a nudge searches for what helps and confirms it on fresh seeds." take={{ csv: () => [["path", "kind", "summary"], ...rows.map((one) => [one.path, one.kind, one.summary])] }}>
      {rows.length === 0 && <p class="quiet">Nothing was tried yet.</p>}
      <div class="scroll">
        <table>
          <tbody>
            {rows.map((one) => (
              <tr key={one.path}>
                <td>
                  <a href={href("x", one.path)}>{one.path}</a>
                </td>
                <td>{one.kind}</td>
                <td>{one.summary}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p>
        <a href={href("experiments")}>All experiments, and new ones</a>
      </p>
    </Panel>
  );
}

function Recordings({ study }: { study: Document }): JSX.Element {
  return (
    <Panel
      title="Recordings"
      take={{
        python: `study = ps.Study.open("${study.name}")\nrecording = study.recording("${study.recordings[0]?.name ?? "main"}")`,
        csv: () => [["name", "steps", "episodes", "return_mean", "frames", "sites", "metrics"], ...study.recordings.map((one) => [one.name, one.steps, one.episodes, one.return_mean, one.frames, one.sites.join(" "), one.metrics.join(" ")])],
      }}
    >
      {study.recordings.length === 0 && <p class="quiet">Nothing is recorded yet.</p>}
      {study.recordings.map((one) => (
        <p key={one.name}>
          <a href={href("episodes", one.name)}>
            <b>{one.name}</b>
          </a>{" "}
          {plural(one.steps, "step")} in {plural(one.episodes, "episode")}, mean return {number(one.return_mean)}
          {one.frames > 0 && `, ${plural(one.frames, "frame")}`}
          <br />
          <span class="quiet">
            {one.sites.join(", ")} · {one.metrics.map(spoken).join(", ")}
          </span>
        </p>
      ))}
    </Panel>
  );
}

function Endings({ study }: { study: Document }): JSX.Element | null {
  const endings = Object.entries(study.evaluation?.endings ?? {}).sort((a, b) => b[1] - a[1]);
  if (!endings.length) return null;
  const most = Math.max(...endings.map(([, many]) => many));
  return (
    <Panel title="How episodes end" note={`Of ${plural(study.evaluation?.episodes ?? 0, "episode")} of the evaluation.`} take={{ csv: () => [["ending", "episodes"], ...endings] }}>
      {endings.map(([name, many]) => (
        <p class="barline" key={name}>
          <span>{spoken(name)}</span>
          <span class="share">
            <span style={{ width: `${(100 * many) / most}%` }} />
          </span>
          <span class="number">{many}</span>
        </p>
      ))}
    </Panel>
  );
}

function Dictionaries({ rows, study }: { rows: DictionaryRow[]; study: string }): JSX.Element {
  const canPlay = useContext(Data).kind === "server";
  return (
    <Panel
      title="Dictionaries"
      wide
      note="Unexplained: share of the variance, 0 is best. L0: features active per step. Dead: never active in the episodes it was scored on. Return kept, with the reconstruction in place of the activation: 1 as good as the activation itself, 0 no better than its mean; 95 % intervals over paired seeds."
      take={{
        python: `study = ps.Study.open("${study}")\nprint(study.compare_dictionaries([${rows.map((one) => `"${one.name}"`).join(", ")}]).table())`,
        csv: () => [
          ["name", "kind", "reads", "writes", "width", "unexplained", "l0", "dead", "return_kept", "action_agreement"],
          ...rows.map((one) => [one.name, one.kind, one.reads, one.writes, one.width, one.unexplained, one.l0, one.dead, one.return_kept?.value ?? null, one.action_agreement]),
        ],
      }}
    >
      {rows.length === 0 ? (
        <p class="quiet">No dictionary is fitted yet; what to do next says how.</p>
      ) : (
        <div class="scroll">
          <table class="pairs">
            <thead>
              <tr>
                <th>name</th>
                <th>kind</th>
                <th>reads → writes</th>
                <th class="number">width</th>
                <th class="number">unexplained</th>
                <th class="number">L0</th>
                <th class="number">dead</th>
                <th class="number">return kept</th>
                <th class="number">same action</th>
                <th>to look at</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((one) => (
                <tr key={one.name}>
                  <td>
                    <a href={href("features", one.name)}>
                      <b>{one.name}</b>
                    </a>
                    <br />
                    {one.warnings.map((warning) => (
                      <span class="warning" key={warning}>
                        ⚠ {warning}
                      </span>
                    ))}
                  </td>
                  <td>{one.kind}</td>
                  <td>
                    <code>{one.reads === one.writes ? one.reads : `${one.reads} → ${one.writes}`}</code>
                  </td>
                  <td class="number">{count(one.width)}</td>
                  <td class="number">{number(one.unexplained)}</td>
                  <td class="number">{number(one.l0)}</td>
                  <td class="number">{percent(one.dead)}</td>
                  <td class="number">{kept(one.return_kept)}</td>
                  <td class="number">{percent(one.action_agreement)}</td>
                  <td class="links">
                    <a href={href("features", one.name)}>features</a> · <a href={href("corr", one.name)}>metrics</a>
                    {canPlay && (
                      <>
                        {" · "}
                        <a href={href("live", one.name)}>live</a>
                      </>
                    )}
                    {one.has.sweep && (
                      <>
                        {" · "}
                        <a href={href("x", `${one.name}/sweep`)}>sweep</a>
                      </>
                    )}
                    {one.has.nudge && (
                      <>
                        {" · "}
                        <a href={href("x", `${one.name}/nudge`)}>nudge</a>
                      </>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}
