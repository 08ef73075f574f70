import { useInfiniteQuery, type keepPreviousData, type QueryKey } from "@tanstack/react-query";

type Page<Row> = { rows: Row[]; next?: string | null };

/** Rows that come page by page; `more` asks for the next one. */
export function usePages<Row>(queryKey: QueryKey, ask: (after: string | undefined) => Promise<Page<Row>>, placeholderData?: typeof keepPreviousData) {
  const query = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam }) => ask(pageParam),
    placeholderData,
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next ?? undefined,
  });
  return { ...query, data: query.data?.pages.flatMap((page) => page.rows) };
}
