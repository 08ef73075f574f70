/** The typed client of the service. Its types come from the OpenAPI description, so a page cannot ask for what is not there. */
import createClient, { type Middleware } from "openapi-fetch";

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What a GET of a path answers. */
export type Got<Path extends keyof paths> = paths[Path] extends { get: { responses: { 200: { content: { "application/json": infer Answer } } } } } ? Answer : never;

/** What the service says when it refuses (RFC 9457), as an error that can be shown. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail || title);
    this.name = "Problem";
  }
}

let token = "";

/** Remember the token that every changing request carries. */
export function keepToken(csrf: string): void {
  token = csrf;
}

async function problemOf(response: Response): Promise<Problem> {
  const body: unknown = await response.clone().json().catch(() => null);
  const told = (body ?? {}) as { title?: unknown; detail?: unknown };
  const title = typeof told.title === "string" ? told.title : response.statusText || `HTTP ${response.status}`;
  return new Problem(response.status, title, typeof told.detail === "string" ? told.detail : "");
}

const manners: Middleware = {
  onRequest({ request }) {
    if (token && !["GET", "HEAD"].includes(request.method)) request.headers.set("X-CSRF-Token", token);
    return request;
  },
  async onResponse({ response }) {
    if (!response.ok) throw await problemOf(response);
    return response;
  },
};

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });
api.use(manners);

/** The body of an answer that was good; a bad one has been thrown by then. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  return data as T;
}
