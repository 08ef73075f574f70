import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient, type QueryKey } from "@tanstack/react-query";

import { Problem } from "../api/client";
import { useWords } from "../words";

type Act<In, Out> = { act: (input: In) => Promise<Out>; done: string | ((out: Out) => string | null); stale: QueryKey[]; after?: (out: Out) => void };

/** A change: tells that it worked or why not, and asks anew for what it made stale. */
export function useAct<In, Out>({ act, done, stale, after }: Act<In, Out>) {
  const queries = useQueryClient();
  const words = useWords();
  return useMutation<Out, Error, In>({
    mutationFn: act,
    onSuccess: async (out) => {
      await Promise.all(stale.map((queryKey) => queries.invalidateQueries({ queryKey })));
      const message = typeof done === "string" ? done : done(out);
      if (message) notifications.show({ message, color: "sea" });
      after?.(out);
    },
    onError: (error) => {
      const title = error instanceof Problem ? error.title : words.failed;
      notifications.show({ title, message: error.message, color: "red", autoClose: 12_000 });
    },
  });
}
