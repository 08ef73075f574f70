import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, body, keepToken, Problem, type Schemas } from "../api/client";

export type Session = Schemas["Session"];
const KEY = ["session"];

async function ask(): Promise<Session | null> {
  try {
    const session = await body(api.GET("/v1/session"));
    keepToken(session.csrf);
    return session;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}

/** Who is logged in; null for nobody. */
export const useSession = () => useQuery({ queryKey: KEY, queryFn: ask, staleTime: 60_000, retry: false });

export function useLogIn() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (given: { name: string; password: string }) => body(api.POST("/v1/session", { body: given })),
    onSuccess: (session) => {
      keepToken(session.csrf);
      queries.setQueryData(KEY, session);
    },
  });
}

export function useLogOut() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () => api.DELETE("/v1/session"),
    onSettled: () => {
      keepToken("");
      queries.clear();
      queries.setQueryData(KEY, null);
    },
  });
}

/** The shop that one is logged in to; only inside the frame, where somebody is. */
export function useShop(): Session {
  const { data } = useSession();
  if (!data) throw new Error("Nobody is logged in.");
  return data;
}
