/** A panel: a title, what it shows, and ways to take it along: link, Python, CSV, SVG. */

import type { ComponentChildren, JSX } from "preact";
import { useRef, useState } from "preact/hooks";

export interface Taken {
  /** The same by the library. */
  python?: string;
  /** A header and rows. */
  csv?: () => (string | number | null)[][];
  /** Where the panel holds a picture. */
  svg?: boolean;
}

export function Panel(props: {
  title: string;
  note?: string;
  take?: Taken;
  wide?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  const box = useRef<HTMLElement>(null);
  const [isLarge, setLarge] = useState(false);
  const take = props.take ?? {};
  const id = props.title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return (
    <section
      ref={box}
      id={id}
      class={`panel${props.wide ? " wide" : ""}${isLarge ? " large" : ""}`}
      aria-labelledby={`${id}-title`}
      onKeyDown={(event) => event.key === "Escape" && setLarge(false)}
    >
      <header>
        <h2 id={`${id}-title`}>{props.title}</h2>
        <span class="tools">
          <Copy what="link" text={() => location.href.replace(/([?&])token=[^&#]*&?/, "$1").replace(/\?(?=#|$)/, "")} />
          {take.python && <Copy what="Python" text={() => take.python ?? ""} />}
          {take.csv && (
            <button onClick={() => save(`${id}.csv`, "text/csv", csv(take.csv?.() ?? []))}>CSV</button>
          )}
          {take.svg && (
            <button
              onClick={() => {
                const drawn = box.current?.querySelector("svg.chart");
                if (drawn) save(`${id}.svg`, "image/svg+xml", standalone(drawn as SVGElement));
              }}
            >
              SVG
            </button>
          )}
          <button aria-pressed={isLarge} title="Fill the page (Esc goes back)" onClick={() => setLarge(!isLarge)}>
            {isLarge ? "⤡" : "⤢"}
          </button>
        </span>
      </header>
      {props.children}
      {props.note && <p class="note">{props.note}</p>}
    </section>
  );
}

export function Copy(props: { what: string; text: () => string }): JSX.Element {
  const [isDone, setDone] = useState(false);
  return (
    <button
      title={`Copy ${props.what === "link" ? "a link to this view" : "this as " + props.what}`}
      onClick={async () => {
        await copy(props.text());
        setDone(true);
        window.setTimeout(() => setDone(false), 1200);
      }}
    >
      {isDone ? "copied" : props.what === "link" ? "link" : "py"}
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

/** The picture with its styles written into it, so that it looks alike outside the page. */
function standalone(drawn: SVGElement): string {
  const copied = drawn.cloneNode(true) as SVGElement;
  const originals = [drawn, ...drawn.querySelectorAll("*")];
  const copies = [copied, ...copied.querySelectorAll("*")];
  originals.forEach((one, index) => {
    const style = getComputedStyle(one);
    const target = copies[index] as SVGElement;
    for (const name of ["fill", "stroke", "stroke-width", "font", "text-anchor", "opacity"]) {
      target.style.setProperty(name, style.getPropertyValue(name));
    }
  });
  copied.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copied);
}
