/** Where documents come from: the studio's server, the file the page is in, or a notebook.
 *
 * One interface for all three, so that every page works in each. A provider that cannot write or
 * play says so, and the pages leave those controls out.
 */

import type { Failure } from "./documents";
import { enterFrame } from "./router";

/** Whether documents can be had: "stranger" where the server was started anew and asks who we are. */
export type Standing = "here" | "gone" | "stranger";

export interface Provider {
  kind: "server" | "file" | "notebook";
  canWrite: boolean;
  standing: Standing;
  /** Calls back when the standing has changed; the function it returns ends that. */
  watch(listener: () => void): () => void;
  /** Asks at once whether the other end is there. */
  knock(): void;
  get<T>(path: string): Promise<T>;
  /** An address that an `<img>` can show. */
  picture(path: string): Promise<string>;
  send<T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T>;
  /** A socket to the live session; null where nothing can play. */
  live(): WebSocket | null;
}

/** What went wrong, in words for the page. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly answer: unknown = null,
  ) {
    super(message);
  }
}

const TOKEN_HEADER = "x-policyscope-token";
/** Milliseconds between two questions whether the server is there, and while it is not. */
const [CALM, ANXIOUS] = [5000, 1000];
/** Milliseconds for which an answer does: an experiment may end meanwhile and add to it. */
const FRESH = 20_000;
/** What never changes its standing has nobody to tell. */
const STEADY = { standing: "here" as const, watch: () => () => undefined, knock: () => undefined };

function server(token: string): Provider {
  const cache = new Map<string, { asked: Promise<unknown>; since: number }>();
  const listeners = new Set<() => void>();
  let timer = 0;
  function stand(to: Standing): void {
    if (to === found.standing) return;
    // Whoever comes back may have other things to show.
    if (to === "here") cache.clear();
    found.standing = to;
    listeners.forEach((listener) => listener());
  }
  function knock(): void {
    window.clearTimeout(timer);
    const again = (): void => {
      window.clearTimeout(timer);
      timer = window.setTimeout(knock, found.standing === "here" ? CALM : ANXIOUS);
    };
    if (document.hidden) again();
    else {
      void ask("GET", "jobs")
        // It refuses those without its token, and so pages that an earlier server has opened.
        .catch((failure: unknown) => failure instanceof Refused && failure.status === 403 && stand("stranger"))
        .then(again);
    }
  }
  async function ask(method: string, path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { [TOKEN_HEADER]: token };
    if (body !== undefined) headers["content-type"] = "application/json";
    let answer: Response;
    try {
      const init: RequestInit = { method, headers };
      if (body !== undefined) init.body = JSON.stringify(body);
      answer = await fetch(`api/${path}`, init);
    } catch {
      stand("gone");
      throw new Refused("The studio's server does not answer. Start it again: policyscope studio STUDY", 0);
    }
    if (answer.status !== 403) stand("here");
    if (!answer.ok) {
      const said = (await answer.json().catch(() => null)) as Failure | null;
      throw new Refused(said?.error ?? `${answer.status} ${answer.statusText}`, answer.status, said);
    }
    return answer;
  }
  const found: Provider = {
    kind: "server",
    canWrite: true,
    standing: "here",
    watch(listener) {
      listeners.add(listener);
      if (!timer) timer = window.setTimeout(knock, CALM);
      return () => listeners.delete(listener);
    },
    knock,
    get<T>(path: string): Promise<T> {
      // What changes while one looks is asked for each time.
      const isSlow = /^(feature|clip|scatter|correlations|episode|window)\//.test(path);
      const known = cache.get(path);
      if (isSlow && known && performance.now() - known.since < FRESH) return known.asked as Promise<T>;
      const asked = ask("GET", path).then((answer) => answer.json() as Promise<T>);
      if (isSlow) {
        cache.set(path, { asked, since: performance.now() });
        asked.catch(() => cache.delete(path));
      }
      return asked;
    },
    async picture(path) {
      return `api/${path}`;
    },
    async send<T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
      cache.clear();
      return (await ask(method, path, body)).json() as Promise<T>;
    },
    live() {
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const socket = new WebSocket(`${scheme}://${location.host}/live?token=${encodeURIComponent(token)}`);
      socket.binaryType = "arraybuffer";
      return socket;
    },
  };
  return found;
}

function file(documents: Record<string, unknown>): Provider {
  return {
    kind: "file",
    canWrite: false,
    ...STEADY,
    async get<T>(path: string): Promise<T> {
      if (!(path in documents)) {
        throw new Refused("This file does not hold that. Open the study in the studio to see it.", 404);
      }
      return documents[path] as T;
    },
    async picture(path) {
      const found = documents[path];
      if (typeof found !== "string") throw new Refused("This file does not hold that picture.", 404);
      return found;
    },
    async send() {
      throw new Refused("A file cannot be changed. Open the study in the studio.", 405);
    },
    live: () => null,
  };
}

interface Answer {
  status: number;
  body?: unknown;
  media?: string;
  bytes?: ArrayBuffer;
}

/** In a frame of a notebook's cell: the widget around it hands us a port to its kernel. */
function notebook(): Provider {
  const waiting = new Map<number, (answer: Answer) => void>();
  const addresses = new Map<string, Promise<string>>();
  let last = 0;
  const port = new Promise<MessagePort>((resolve) => {
    window.addEventListener("message", ({ data, ports }) => {
      const given = data === "policyscope" ? ports[0] : undefined;
      if (!given) return;
      given.onmessage = ({ data: { id, ...answer } }) => {
        waiting.get(id as number)?.(answer as Answer);
        waiting.delete(id as number);
      };
      resolve(given);
    });
  });
  async function ask(method: string, path: string, body?: unknown): Promise<Answer> {
    const to = await port;
    const id = (last += 1);
    const answer = await new Promise<Answer>((resolve) => {
      waiting.set(id, resolve);
      to.postMessage({ id, method, path, body });
    });
    if (answer.status >= 400) throw new Refused((answer.body as Failure).error, answer.status, answer.body);
    return answer;
  }
  async function address(path: string): Promise<string> {
    const { bytes, media } = await ask("GET", path);
    return URL.createObjectURL(new Blob([bytes ?? new ArrayBuffer(0)], { type: media ?? "" }));
  }
  return {
    kind: "notebook",
    canWrite: true,
    ...STEADY,
    get: async <T>(path: string) => (await ask("GET", path)).body as T,
    picture(path) {
      const found = addresses.get(path) ?? address(path);
      addresses.set(path, found);
      return found;
    },
    send: async <T>(method: "POST" | "DELETE", path: string, body?: unknown) => (await ask(method, path, body)).body as T,
    live: () => null,
  };
}

/** The provider of the page we are in. */
export function provider(): Provider {
  const inlined = document.getElementById("documents");
  if (inlined?.textContent) return file(JSON.parse(inlined.textContent) as Record<string, unknown>);
  const cell = document.querySelector<HTMLMetaElement>('meta[name="policyscope-place"]');
  if (cell) {
    enterFrame(cell.content);
    return notebook();
  }
  const given = new URLSearchParams(location.search).get("token");
  if (given) sessionStorage.setItem("token", given);
  return server(given ?? sessionStorage.getItem("token") ?? "");
}
