/** The studio: one page that shows a study, from a server, out of a file, or in a notebook. */

import { render } from "preact";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import type { DictionaryRow, Overview as Study } from "./documents";
import { Compare } from "./pages/Compare";
import { Correlations } from "./pages/Correlations";
import { Episodes } from "./pages/Episodes";
import { Experiment, Experiments } from "./pages/Experiments";
import { Feature } from "./pages/Feature";
import { Features } from "./pages/Features";
import { Live } from "./pages/Live";
import { Overview } from "./pages/Overview";
import { Player } from "./pages/Player";
import { Report } from "./pages/Report";
import { FeatureName } from "./parts/feature";
import { Data, useDocument } from "./parts/load";
import { provider } from "./provider";
import type { Provider } from "./provider";
import { go, href, ofFeature, usePlace } from "./router";
import { colourOf, pins, setTheme, theme, togglePin } from "./state";
import type { Theme } from "./state";
import "./style.css";

/** The dictionary that was looked at last: other pages are of the same if they are not told. */
const last = { dictionary: "" };

function Page(): JSX.Element {
  const { page, rest } = usePlace();
  const study = useDocument<Study>("overview").value;
  const known = study?.dictionaries ?? [];
  const first = known.find((one) => one.name === last.dictionary) ?? known.find((one) => one.has.features) ?? known[0];
  const dictionary = rest || first?.name || "";
  if (["features", "corr", "live"].includes(page) && rest) last.dictionary = rest;
  if (page === "f") last.dictionary = ofFeature(rest)[0];
  const recording = rest || study?.recordings[0]?.name || "";
  switch (page) {
    case "":
      return <Overview />;
    case "features":
      return dictionary ? <Features key={dictionary} dictionary={dictionary} /> : <Nothing study={study} />;
    case "f":
      return <Feature rest={rest} />;
    case "episodes":
      return recording ? <Episodes key={recording} recording={recording} /> : <Nothing study={study} />;
    case "ep":
      return <Player key={rest} rest={rest} />;
    case "live":
      return dictionary ? <Live key={dictionary} dictionary={dictionary} /> : <Nothing study={study} />;
    case "experiments":
      return <Experiments />;
    case "x":
      return <Experiment key={rest} path={rest} />;
    case "corr":
      return dictionary ? <Correlations key={dictionary} dictionary={dictionary} /> : <Nothing study={study} />;
    case "compare":
      return <Compare />;
    case "report":
      return <Report />;
    default:
      return (
        <p class="trouble" role="alert">
          There is no page “{page}”. <a href={href("")}>To the overview</a>
        </p>
      );
  }
}

function Nothing({ study }: { study: Study | null }): JSX.Element {
  if (!study) return <p class="quiet">Loading …</p>;
  return (
    <p class="quiet">
      The study holds nothing to show here yet. <a href={href("")}>The overview says what to do next</a>
    </p>
  );
}

const PAGES: [string, string, string][] = [
  ["", "Overview", "o"],
  ["features", "Features", "f"],
  ["episodes", "Episodes", "e"],
  ["live", "Live", "l"],
  ["experiments", "Experiments", "x"],
  ["corr", "Correlations", "c"],
  ["compare", "Compare", "m"],
  ["report", "Report", "r"],
];

/** Pages that need what is not there: a socket for live play, a disk for a report, the weights. */
const ELSEWHERE: Record<Provider["kind"], string[]> = { server: [], notebook: ["live", "report"], file: ["live", "report", "compare"] };

function Shell({ data }: { data: Provider }): JSX.Element {
  const place = usePlace();
  const study = useDocument<Study>("overview");
  const [isFinding, setFinding] = useState(false);
  const shown = PAGES.filter(([page]) => !ELSEWHERE[data.kind].includes(page));
  const inside: Record<string, string> = { f: "features", ep: "episodes", x: "experiments" };
  const current = inside[place.page] ?? place.page;
  // At once, so that the next key finds what this one has changed.
  useLayoutEffect(() => {
    let isLeading = false;
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        setFinding(true);
        return;
      }
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
      const to = shown.find(([, , key]) => key === event.key);
      if (isLeading && to) go(href(to[0]));
      isLeading = event.key === "g";
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [shown.length]);
  useEffect(() => {
    const title = [place.page === "f" ? place.rest.replace(/\/(\d+)$/, "#$1") : "", study.value?.name ?? "", "policyscope"];
    document.title = title.filter(Boolean).join(" · ");
  }, [place.page, place.rest, study.value]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        To the page
      </a>
      <nav aria-label="Pages">
        <p class="brand">policyscope</p>
        {shown.map(([page, name, key]) => (
          <a key={page} href={href(page)} aria-current={current === page ? "page" : undefined} title={`g then ${key}`}>
            {name}
          </a>
        ))}
        <span class="foot">
          <button onClick={() => setFinding(true)} title="Ctrl-K">
            Find …
          </button>
          <ThemeChoice />
        </span>
      </nav>
      <div class="body">
        <Absent data={data} />
        <Tray query={place.query} />
        <main id="main" tabIndex={-1}>
          <Page />
        </main>
      </div>
      {isFinding && <Finder study={study.value} close={() => setFinding(false)} pages={shown} />}
    </>
  );
}

/** Says that the server is gone, or was started anew, and what to do. */
function Absent({ data }: { data: Provider }): JSX.Element | null {
  const [standing, setStanding] = useState(data.standing);
  useEffect(() => data.watch(() => setStanding(data.standing)), [data]);
  if (standing === "here") return null;
  return (
    <div class="trouble absent" role="alert">
      {standing === "gone" ? (
        <>
          <span>
            The studio’s server is gone; what is shown is the last that came. Start it again with <code>policyscope studio STUDY</code>: this page joins it by itself.
          </span>
          <button onClick={() => data.knock()}>Try now</button>
        </>
      ) : (
        <span>The studio was started anew and asks for a new token. Open the address that it has printed.</span>
      )}
    </div>
  );
}

/** The pinned features, each in the colour it has on every page. */
function Tray({ query }: { query: URLSearchParams }): JSX.Element | null {
  const pinned = pins(query).filter((one): one is string => one !== null);
  if (!pinned.length) return null;
  return (
    <div class="tray" aria-label="Pinned features">
      {pinned.map((address) => {
        const cut = address.lastIndexOf("#");
        return (
          <span key={address} class={`pinned p${colourOf(address)}`}>
            <span class="quiet">{address.slice(0, cut)}</span>
            <FeatureName dictionary={address.slice(0, cut)} index={Number(address.slice(cut + 1))} />
            <button onClick={() => togglePin(address)} aria-label={`Unpin ${address}`}>
              ×
            </button>
          </span>
        );
      })}
    </div>
  );
}

function ThemeChoice(): JSX.Element {
  const [chosen, choose] = useState<Theme>(theme());
  const next: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
  return (
    <button
      title={`Theme: ${chosen}`}
      onClick={() => {
        choose(next[chosen]);
        setTheme(next[chosen]);
      }}
    >
      {{ auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[chosen]}
    </button>
  );
}

/** Pages, dictionaries, recordings and features by what one types: Ctrl-K. */
function Finder(props: { study: Study | null; close: () => void; pages: [string, string, string][] }): JSX.Element {
  const [asked, ask] = useState("");
  const [at, setAt] = useState(0);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => box.current?.focus(), []);
  const feature = /^(.*?)#?\s*(\d+)$/.exec(asked.trim());
  const places: [string, string][] = [
    ...props.pages.map(([page, name]): [string, string] => [name, href(page)]),
    ...(props.study?.dictionaries ?? []).flatMap((one: DictionaryRow): [string, string][] => [
      [`features of ${one.name}`, href("features", one.name)],
      ...(props.pages.some(([page]) => page === "live") ? ([[`live with ${one.name}`, href("live", one.name)]] as [string, string][]) : []),
      ...(feature && Number(feature[2]) < one.width && one.name.includes(feature[1]?.trim() ?? "") ? ([[`feature ${one.name}#${feature[2]}`, href("f", `${one.name}/${feature[2]}`)]] as [string, string][]) : []),
    ]),
    ...(props.study?.recordings ?? []).map((one): [string, string] => [`episodes of ${one.name}`, href("episodes", one.name)]),
  ];
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  const found = places.filter(([name]) => (feature && name.startsWith("feature ")) || words.every((word) => name.toLowerCase().includes(word))).slice(0, 12);
  const leave = (to: string | undefined): void => {
    if (to) go(to);
    props.close();
  };
  return (
    <div class="veil" onClick={props.close}>
      <div class="finder" role="dialog" aria-label="Find" onClick={(event) => event.stopPropagation()}>
        <input
          ref={box}
          placeholder="A page, a dictionary, a feature as layer2/k4#17"
          value={asked}
          onInput={(event) => {
            ask(event.currentTarget.value);
            setAt(0);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") props.close();
            else if (event.key === "ArrowDown") setAt(Math.min(found.length - 1, at + 1));
            else if (event.key === "ArrowUp") setAt(Math.max(0, at - 1));
            else if (event.key === "Enter") leave(found[at]?.[1]);
          }}
        />
        {found.map(([name, to], index) => (
          <a key={to} href={to} class={index === at ? "at" : ""} onClick={props.close}>
            {name}
          </a>
        ))}
        {found.length === 0 && <p class="quiet">Nothing is called that.</p>}
      </div>
    </div>
  );
}

setTheme(theme());
const data = provider();
render(
  <Data.Provider value={data}>
    <Shell data={data} />
  </Data.Provider>,
  document.getElementById("app") as HTMLElement,
);
