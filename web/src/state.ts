/** What every page shares: pinned features with their colours, and the theme. */

import { useEffect, useState } from "preact/hooks";

import { amend, here, parse } from "./router";

export const PIN_COLOURS = 8;

/** Pinned features by address, in the order of their colours; a slot may be empty. */
export function pins(query: URLSearchParams = parse(here()).query): (string | null)[] {
  const said = query.get("pins");
  if (!said) return [];
  return said.split("|").map((one) => one || null);
}

export function colourOf(address: string, pinned: (string | null)[] = pins()): number | null {
  const index = pinned.indexOf(address);
  return index < 0 ? null : index;
}

/** Gives a feature the first free colour, or takes its colour away. */
export function togglePin(address: string): void {
  const now = pins();
  const at = now.indexOf(address);
  if (at >= 0) now[at] = null;
  else {
    const free = now.indexOf(null);
    if (free >= 0) now[free] = address;
    else if (now.length < PIN_COLOURS) now.push(address);
    else now[PIN_COLOURS - 1] = address;
  }
  while (now.length && now[now.length - 1] === null) now.pop();
  amend({ pins: now.length ? now.map((one) => one ?? "").join("|") : null });
}

export type Theme = "auto" | "light" | "dark";

export function theme(): Theme {
  try {
    return (localStorage.getItem("theme") as Theme | null) ?? "auto";
  } catch {
    return "auto";
  }
}

export function setTheme(chosen: Theme): void {
  try {
    localStorage.setItem("theme", chosen);
  } catch {
    // Where nothing may be kept, the choice lasts as long as the page.
  }
  document.documentElement.dataset["theme"] = chosen;
  window.dispatchEvent(new Event("themed"));
}

/** A number that changes with the colours of the page: what is drawn on a canvas is drawn anew. */
export function useColours(): number {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const changed = (): void => setTurn((before) => before + 1);
    const system = window.matchMedia("(prefers-color-scheme: dark)");
    window.addEventListener("themed", changed);
    system.addEventListener("change", changed);
    return () => {
      window.removeEventListener("themed", changed);
      system.removeEventListener("change", changed);
    };
  }, []);
  return turn;
}
