/** The address of what is looked at: a path and a query after `#`, so that every view is a link. */

import { useLayoutEffect, useState } from "preact/hooks";

/** Where we are; null where the address of the page says so. */
let inside: string | null = null;

/** As `#/features/layer2/k4?sort=max`. */
export function here(): string {
  return inside ?? location.hash;
}

/** Goes to a place; with `isQuiet` without a step back. */
export function go(to: string, isQuiet = false): void {
  if (inside === null && !isQuiet) {
    location.hash = to;
    return;
  }
  if (inside === null) history.replaceState(null, "", to);
  else inside = to;
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Keeps the place to itself: the address of a frame is not its own to change. */
export function enterFrame(start: string): void {
  inside = start;
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest?.("a[href]");
    const to = link?.getAttribute("href") ?? "";
    if (!to.startsWith("#")) return;
    event.preventDefault();
    go(to);
  });
}

export interface Place {
  /** As ["f", "layer2/k4", "17"]: the page, then what it is of. */
  page: string;
  rest: string;
  query: URLSearchParams;
}

export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...rest] = path.split("/");
  return { page, rest: rest.map(decodeURIComponent).join("/"), query: new URLSearchParams(query) };
}

/** `#/page/rest?query`; the pins stay. */
export function href(page: string, rest = "", query: Record<string, string | number | null> = {}): string {
  const kept = new URLSearchParams();
  const pins = parse(here()).query.get("pins");
  if (pins) kept.set("pins", pins);
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === "") kept.delete(name);
    else kept.set(name, String(value));
  }
  const path = rest ? `${page}/${rest.split("/").map(encodeURIComponent).join("/")}` : page;
  const said = kept.toString();
  return `#/${path}${said ? `?${said}` : ""}`;
}

/** Changes parts of the query of the present place; null removes one. */
export function amend(changes: Record<string, string | number | null>, isStep = false): void {
  const { page, rest, query } = parse(here());
  const all: Record<string, string | number | null> = Object.fromEntries(query);
  const to = href(page, rest, { ...all, ...changes });
  if (to !== here()) go(to, !isStep);
}

export function usePlace(): Place {
  const [hash, setHash] = useState(here());
  useLayoutEffect(() => {
    const moved = (): void => setHash(here());
    window.addEventListener("hashchange", moved);
    // The place may have changed between drawing and listening.
    moved();
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  return parse(hash);
}

/** The name and the number at its end, as `layer2/k4/17` has them. */
export function ofFeature(rest: string): [string, number] {
  const cut = rest.lastIndexOf("/");
  return [rest.slice(0, cut), Number(rest.slice(cut + 1))];
}
