/** A panel: a title, what it shows, and ways to take it along: link, Python, CSV, SVG. */

import type { ComponentChildren, JSX } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";

import { here, parse } from "../router";
import { Data } from "./load";

export interface Taken {
  /** The same by the library. */
  python?: string;
  /** A header and rows. */
  csv?: () => (string | number | null)[][];
  /** Where the panel holds pictures: those that are SVG, or the text of a file. */
  svg?: boolean | (() => string);
}

export function Panel(props: {
  title: string;
  /** What links to it say; made of the title where that stays the same. */
  id?: string;
  /** Shown in place of the title. */
  head?: ComponentChildren;
  note?: string;
  take?: Taken;
  wide?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  const box = useRef<HTMLElement>(null);
  const [isLarge, setLarge] = useState(false);
  const take = props.take ?? {};
  // The frame in a notebook's cell has no address that would lead anywhere.
  const canLink = useContext(Data).kind !== "notebook";
  const id = props.id ?? props.title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "");
  const [isMeant] = useState(() => parse(here()).query.get("panel") === id);
  useEffect(() => {
    if (isMeant) box.current?.scrollIntoView({ block: "start" });
  }, [isMeant]);
  return (
    <section
      ref={box}
      id={id}
      class={`panel${props.wide ? " wide" : ""}${isLarge ? " large" : ""}${isMeant ? " meant" : ""}`}
      aria-labelledby={`${id}-title`}
      onKeyDown={(event) => event.key === "Escape" && setLarge(false)}
    >
      <header>
        <h2 id={`${id}-title`}>{props.head ?? props.title}</h2>
        <span class="tools">
          {canLink && <Copy what="link" text={() => linkTo(id)} />}
          {take.python && <Copy what="Python" text={() => take.python ?? ""} />}
          {take.csv && (
            <button type="button" title="Save the numbers as a CSV file" onClick={() => save(`${id}.csv`, "text/csv", csv(take.csv?.() ?? []))}>
              CSV
            </button>
          )}
          {take.svg && (
            <button
              type="button"
              title="Save the picture as an SVG file"
              onClick={() => {
                const drawn = [...(box.current?.querySelectorAll<SVGSVGElement>("svg.chart") ?? [])];
                const text = typeof take.svg === "function" ? take.svg() : standalone(drawn);
                save(`${id}.svg`, "image/svg+xml", text);
              }}
            >
              SVG
            </button>
          )}
          <button type="button" aria-pressed={isLarge} aria-label={`Fill the page with ${props.title}`} title="Fill the page (Esc goes back)" onClick={() => setLarge(!isLarge)}>
            {isLarge ? "⤡" : "⤢"}
          </button>
        </span>
      </header>
      {props.children}
      {props.note && <p class="note">{props.note}</p>}
    </section>
  );
}

const MARKS: Record<string, string> = { link: "link", Python: "py" };

export function Copy(props: { what: string; text: () => string }): JSX.Element {
  const [isDone, setDone] = useState(false);
  return (
    <button
      type="button"
      title={`Copy ${props.what === "link" ? "a link to this view" : props.what === "Python" ? "this as Python" : `the ${props.what}`}`}
      onClick={async () => {
        await copy(props.text());
        setDone(true);
        window.setTimeout(() => setDone(false), 1200);
      }}
    >
      {isDone ? "copied" : (MARKS[props.what] ?? "copy")}
    </button>
  );
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function csv(rows: (string | number | null)[][]): string {
  const cell = (value: string | number | null): string => {
    const said = value === null ? "" : String(value);
    return /[",\n]/.test(said) ? `"${said.replaceAll('"', '""')}"` : said;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

export function save(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "font", "text-anchor", "opacity"];

/** Pictures one below the other, with their styles written into them: they look alike elsewhere. */
function standalone(drawn: SVGSVGElement[]): string {
  const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  let [width, height] = [0, 0];
  for (const one of drawn) {
    const copied = one.cloneNode(true) as SVGSVGElement;
    const copies = [copied, ...copied.querySelectorAll<SVGElement>("*")];
    [one, ...one.querySelectorAll("*")].forEach((original, index) => {
      const style = getComputedStyle(original);
      for (const name of STYLES) copies[index]?.style.setProperty(name, style.getPropertyValue(name));
    });
    const box = one.viewBox.baseVal;
    copied.setAttribute("width", String(box.width));
    copied.setAttribute("height", String(box.height));
    copied.setAttribute("y", String(height));
    whole.append(copied);
    [width, height] = [Math.max(width, box.width), height + box.height + 8];
  }
  whole.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return new XMLSerializer().serializeToString(whole);
}

/** The address of this view with one of its panels, without the token, which is nobody else's. */
function linkTo(panel: string): string {
  const { page, rest, query } = parse(here());
  query.set("panel", panel);
  const path = rest ? `${page}/${rest.split("/").map(encodeURIComponent).join("/")}` : page;
  return `${location.href.replace(/[?#].*$/, "")}#/${path}?${query.toString()}`;
}
