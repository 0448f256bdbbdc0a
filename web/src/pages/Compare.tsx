/** Dictionaries side by side: their scores, and which features of one are found again in the other. */

import type { JSX } from "preact";

import type { CompareDictionaries, DictionaryPage, FeatureTable, Overview } from "../documents";
import { count, kept, number, percent, signed } from "../format";
import { FeatureName } from "../parts/feature";
import { Load, useDocument } from "../parts/load";
import { Panel } from "../parts/panel";
import { amend, usePlace } from "../router";

export function Compare(): JSX.Element {
  const { query } = usePlace();
  const study = useDocument<Overview>("overview").value;
  const known = study?.dictionaries.map((one) => one.name) ?? [];
  const asked = (query.get("d") ?? "").split(",").filter((name) => known.includes(name));
  const chosen = asked.length ? asked : known.slice(0, 2);
  return (
    <>
      <h1>Compare</h1>
      <p class="lead">Dictionaries of other kinds, sizes, seeds or layers side by side; the features of the first are looked for in the second.</p>
      <div class="facets">
        {[0, 1, 2, 3].slice(0, Math.min(4, chosen.length + 1)).map((place) => (
          <select
            key={place}
            aria-label={`Dictionary ${place + 1}`}
            value={chosen[place] ?? ""}
            onChange={(event) => {
              const next = [...chosen];
              if (event.currentTarget.value) next[place] = event.currentTarget.value;
              else next.splice(place, 1);
              amend({ d: next.join(",") });
            }}
          >
            <option value="">{place < 2 ? "choose" : "another …"}</option>
            {known.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        ))}
      </div>
      {chosen.length >= 2 ? (
        <Load<CompareDictionaries> path={`compare?dictionaries=${chosen.map(encodeURIComponent).join(",")}`}>{(found) => <Beside found={found} />}</Load>
      ) : (
        <p class="quiet">Comparing takes two dictionaries; the study has {known.length}.</p>
      )}
    </>
  );
}

const ROWS: [string, (one: DictionaryPage) => string][] = [
  ["kind", (one) => one.kind],
  ["reads → writes", (one) => (one.reads === one.writes ? one.reads : `${one.reads} → ${one.writes}`)],
  ["width", (one) => count(one.width)],
  ["unexplained variance", (one) => number(one.unexplained)],
  ["L0", (one) => number(one.l0)],
  ["dead", (one) => percent(one.dead)],
  ["return kept", (one) => kept(one.return_kept)],
  ["same action", (one) => percent(one.action_agreement, 1)],
];

/** What the features of a dictionary are called, where somebody has looked at them. */
function useLabels(one: DictionaryPage | undefined): Map<number, string> {
  const table = useDocument<FeatureTable>(one?.has.features ? `features/${one.name}` : null).value;
  return new Map((table?.features ?? []).map((row) => [row.index, row.label]));
}

function Beside({ found }: { found: CompareDictionaries }): JSX.Element {
  const [first, second] = found.rows;
  const labels = [useLabels(first), useLabels(second)];
  return (
    <div class="grid">
      <Panel title="Scores" wide note="Unexplained variance: 0 is best. Return kept, with the reconstruction in place of the activation: 100 % as good as the activation, 0 % no better than its mean." take={{ python: `study.compare_dictionaries([${found.rows.map((one) => `"${one.name}"`).join(", ")}])`, csv: () => [["score", ...found.rows.map((one) => one.name)], ...ROWS.map(([name, of]) => [name, ...found.rows.map(of)])] }}>
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th />
                {found.rows.map((one) => (
                  <th key={one.name}>{one.name}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {ROWS.map(([name, of]) => (
                <tr key={name}>
                  <th>{name}</th>
                  {found.rows.map((one) => (
                    <td key={one.name}>{of(one)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      <Panel
        title="Features found again"
        wide
        note="The best match of each living feature, the surest first. cos: of the directions, where both write the same site. r: of the activations over the recording."
        take={{ python: `study.compare_dictionaries(["${first?.name ?? ""}", "${second?.name ?? ""}"]).matches`, csv: () => [["first", "second", "cosine", "correlation"], ...found.matches.map((one) => [one.first, one.second, one.cosine, one.correlation])] }}
      >
        {found.matches.length === 0 ? (
          <p class="quiet">They cannot be matched: they write different sites, and no recording holds what both read. Record both sites at once: policyscope record STUDY --site A B</p>
        ) : (
          <p>
            <b>{percent(found.found_again)}</b> of the {found.matches.length} living features of {first?.name} have a match of 0.9 or more in {second?.name}.
          </p>
        )}
        <div class="scroll">
          <table>
            {found.matches.length > 0 && (
              <thead>
                <tr>
                  <th>{first?.name}</th>
                  <th>best match in {second?.name}</th>
                  <th class="number">cos</th>
                  <th class="number">r</th>
                </tr>
              </thead>
            )}
            <tbody>
              {found.matches.slice(0, 200).map((one) => (
                <tr key={one.first}>
                  <td>
                    <FeatureName dictionary={first?.name ?? ""} index={one.first} label={labels[0]?.get(one.first) ?? ""} />
                  </td>
                  <td>
                    <FeatureName dictionary={second?.name ?? ""} index={one.second} label={labels[1]?.get(one.second) ?? ""} />
                  </td>
                  <td class="number">{signed(one.cosine)}</td>
                  <td class="number">{signed(one.correlation)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        {found.matches.length > 200 && <p class="quiet">The first two hundred of {count(found.matches.length)}; the CSV has all.</p>}
      </Panel>
    </div>
  );
}
