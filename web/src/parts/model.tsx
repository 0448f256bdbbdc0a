/** The language model that the studio was started with, if any: its captions, and a button to ask it for a label. */

import type { JSX } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";

import type { Job, Model } from "../documents";
import type { Session } from "../live";
import { Data, useDocument } from "./load";

const MILLISECONDS = 700;

/** What there is to ask; null where there is none, as in a file or a notebook. */
function useModel(): Model | null {
  const data = useContext(Data);
  const found = useDocument<Model>(data.kind === "server" ? "model" : null).value;
  return found?.name ? found : null;
}

/** Asks it for a label of one feature, in the background; shows nothing where there is none to ask. */
export function AskModel(props: { dictionary: string; index: number; done: () => void }): JSX.Element | null {
  const data = useContext(Data);
  const model = useModel();
  const [job, setJob] = useState<Job | null>(null);
  const [error, setError] = useState<string | null>(null);
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  if (!model || !data.canWrite) return null;
  const follow = (seen: Job): void => {
    setJob(seen);
    if (seen.state === "waiting" || seen.state === "running") {
      timer.current = window.setTimeout(() => data.get<Job>(`jobs/${seen.id}`).then(follow, fail), MILLISECONDS);
    } else {
      setJob(null);
      setError(seen.state === "failed" ? seen.error : null);
      if (seen.state === "done") props.done();
    }
  };
  const fail = (failure: Error): void => {
    setJob(null);
    setError(failure.message);
  };
  const ask = (): void => {
    setError(null);
    const wanted = { dictionary: props.dictionary, features: [props.index], again: true };
    data.send<Job>("POST", "jobs", { verb: "label", arguments: wanted }).then(follow, fail);
  };
  return (
    <>
      <p>
        <button type="button" disabled={job !== null} onClick={ask} title={`Sends statistics of this feature and some recorded metrics to ${model.server}; the answer is scored on held-out episodes.`}>
          Ask the model
        </button>{" "}
        <span class="quiet" role="status">
          {job === null ? model.name : job.state === "waiting" ? "waits its turn …" : `${model.name} is asked …`}
        </span>
      </p>
      {error && (
        <p class="note" role="alert">
          {error}
        </p>
      )}
    </>
  );
}

/** Live play in the model's words, below those from the labels; off until somebody wants it. */
export function ModelCaption({ session }: { session: Session }): JSX.Element | null {
  const model = useModel();
  const [isAsked, ask] = useState(false);
  if (!model) return null;
  const caption = session.caption;
  return (
    <>
      <label>
        <input
          type="checkbox"
          checked={isAsked}
          onChange={(event) => {
            ask(event.currentTarget.checked);
            session.explain(event.currentTarget.checked);
          }}
        />{" "}
        also in the words of {model.name}
      </label>
      {isAsked && (
        <p class="words" aria-live="polite">
          {caption?.text ? (
            <>
              {caption.text}{" "}
              <span class="quiet">
                ({model.name}, of step {caption.forStep})
              </span>
            </>
          ) : (
            <span class="quiet">{caption?.error ? `${caption.error} The words above go on.` : `${model.name} is asked …`}</span>
          )}
        </p>
      )}
    </>
  );
}
