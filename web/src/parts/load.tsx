/** A document and what is shown of it; while it comes a quiet line, and errors where they happen. */

import { createContext } from "preact";
import type { ComponentChildren, JSX } from "preact";
import { useCallback, useContext, useEffect, useState } from "preact/hooks";

import type { Provider } from "../provider";

export const Data = createContext<Provider>(null as unknown as Provider);

export interface Loaded<T> {
  value: T | null;
  error: string | null;
  again: () => void;
}

/** The document at `path`; null asks for nothing. `every` asks again after so many milliseconds. */
export function useDocument<T>(path: string | null, every = 0): Loaded<T> {
  const data = useContext(Data);
  const [held, setHeld] = useState<{ path: string | null; value: T | null; error: string | null }>({
    path: null,
    value: null,
    error: null,
  });
  const [turn, setTurn] = useState(0);
  const again = useCallback(() => setTurn((now) => now + 1), []);
  // What could not be had while the server was gone is asked for again when it is back.
  useEffect(() => data.watch(() => data.standing === "here" && again()), [data]);
  useEffect(() => {
    if (path === null) return undefined;
    let isHere = true;
    let timer = 0;
    const ask = (): void => {
      data.get<T>(path).then(
        (value) => isHere && setHeld({ path, value, error: null }),
        (error: Error) =>
          isHere && setHeld((old) => ({ path, value: old.path === path ? old.value : null, error: error.message })),
      );
      if (every) timer = window.setTimeout(ask, every);
    };
    ask();
    return () => {
      isHere = false;
      window.clearTimeout(timer);
    };
  }, [data, path, every, turn]);
  const isMine = held.path === path;
  return { value: isMine ? held.value : null, error: isMine ? held.error : null, again };
}

export function Load<T>(props: {
  path: string;
  every?: number;
  /** What can be done about an error, shown below it. */
  help?: ComponentChildren;
  children: (value: T, again: () => void) => ComponentChildren;
}): JSX.Element {
  const { value, error, again } = useDocument<T>(props.path, props.every ?? 0);
  if (value !== null) {
    return (
      <>
        {error && <Trouble error={error} again={again} />}
        {props.children(value, again)}
      </>
    );
  }
  if (error) {
    return (
      <>
        <Trouble error={error} again={again} />
        {props.help}
      </>
    );
  }
  return (
    <p class="quiet" role="status">
      Loading …
    </p>
  );
}

export function Trouble(props: { error: string; again?: () => void }): JSX.Element {
  return (
    <div class="trouble" role="alert">
      <span>{props.error}</span>
      {props.again && <button onClick={props.again}>Try again</button>}
    </div>
  );
}
