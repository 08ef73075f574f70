import { Alert, Button, Center, Skeleton, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconInbox } from "@tabler/icons-react";
import type { ReactNode } from "react";

import { Problem } from "../api/client";
import { useWords } from "../words";

type Asked<T> = { data: T | undefined; error: Error | null; refetch: () => unknown };
type Paged<T> = Asked<T> & { hasNextPage?: boolean; isFetchingNextPage?: boolean; fetchNextPage?: () => unknown };

/** What a question to the service looks like while it is open, when it failed, and when it was answered. */
export function Answered<T>({ query, children, rows = 4 }: { query: Paged<T>; children: (data: T) => ReactNode; rows?: number }) {
  const words = useWords();
  if (query.data !== undefined) {
    return (
      <>
        {children(query.data)}
        {query.hasNextPage && (
          <Center pt="sm">
            <Button variant="default" size="xs" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage?.()}>
              {words.more}
            </Button>
          </Center>
        )}
      </>
    );
  }
  if (query.error) return <Failed error={query.error} again={() => void query.refetch()} />;
  return (
    <Stack gap="sm" role="status" aria-busy aria-label={words.loading}>
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height={row === 0 ? 72 : 36} radius="md" />
      ))}
    </Stack>
  );
}

export function Failed({ error, again }: { error: Error; again?: () => void }) {
  const words = useWords();
  const title = error instanceof Problem ? error.title : words.failed;
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle aria-hidden />} title={title}>
      <Stack gap="xs" align="flex-start">
        <Text size="sm">{error.message}</Text>
        {again && (
          <Button size="xs" variant="default" onClick={again}>
            {words.tryAgain}
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

/** Nothing there yet: says why, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Center py="xl">
      <Stack align="center" gap={6} maw={460} ta="center">
        <IconInbox size={34} stroke={1.4} aria-hidden opacity={0.55} />
        <Text fw={600}>{title}</Text>
        {children && (
          <Text size="sm" c="dimmed" component="div">
            {children}
          </Text>
        )}
      </Stack>
    </Center>
  );
}
