/** Where documents come from: the studio's server, the file the page is in, or a notebook.
 *
 * One interface for all three, so that every page works in each. A provider that cannot write or
 * play says so, and the pages leave those controls out.
 */

import type { Failure } from "./documents";

export interface Provider {
  kind: "server" | "file" | "notebook";
  canWrite: boolean;
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

function server(token: string): Provider {
  const cache = new Map<string, Promise<unknown>>();
  async function ask(method: string, path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { [TOKEN_HEADER]: token };
    if (body !== undefined) headers["content-type"] = "application/json";
    let answer: Response;
    try {
      const init: RequestInit = { method, headers };
      if (body !== undefined) init.body = JSON.stringify(body);
      answer = await fetch(`api/${path}`, init);
    } catch {
      throw new Refused("The studio's server does not answer. Start it again: policyscope studio STUDY", 0);
    }
    if (!answer.ok) {
      const said = (await answer.json().catch(() => null)) as Failure | null;
      throw new Refused(said?.error ?? `${answer.status} ${answer.statusText}`, answer.status, said);
    }
    return answer;
  }
  return {
    kind: "server",
    canWrite: true,
    get<T>(path: string): Promise<T> {
      // What changes while one looks is asked for each time.
      const isFixed = /^(feature|clip|scatter|correlations|episode|window)\//.test(path);
      const known = cache.get(path);
      if (isFixed && known) return known as Promise<T>;
      const asked = ask("GET", path).then((answer) => answer.json() as Promise<T>);
      if (isFixed) {
        cache.set(path, asked);
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
}

function file(documents: Record<string, unknown>): Provider {
  return {
    kind: "file",
    canWrite: false,
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

/** What a notebook's widget hands over. */
export interface Comm {
  ask(message: { method: string; path: string; body?: unknown }): Promise<{ status: number; body: unknown }>;
}

export function notebook(comm: Comm): Provider {
  async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await comm.ask({ method, path, body });
    if (answer.status >= 400) {
      throw new Refused((answer.body as Failure).error, answer.status, answer.body);
    }
    return answer.body as T;
  }
  return {
    kind: "notebook",
    canWrite: false,
    get: (path) => ask("GET", path),
    picture: (path) => ask<string>("GET", path),
    send: (method, path, body) => ask(method, path, body),
    live: () => null,
  };
}

/** The provider of the page we are in. */
export function provider(): Provider {
  const inlined = document.getElementById("documents");
  if (inlined?.textContent) return file(JSON.parse(inlined.textContent) as Record<string, unknown>);
  const given = new URLSearchParams(location.search).get("token");
  if (given) sessionStorage.setItem("token", given);
  return server(given ?? sessionStorage.getItem("token") ?? "");
}
