import { Alert, Badge, Group, Progress, Stack, Text } from "@mantine/core";
import { useQuery, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useEffect } from "react";

import { api, body } from "../api/client";
import { useWords } from "../words";

const OVER = ["done", "failed", "cancelled"];

/** Work in the background: how far it is, until it is done; then asks anew for what it changed. */
export function Job({ id, stale }: { id: string; stale: QueryKey[] }) {
  const { jobs: words } = useWords();
  const queries = useQueryClient();
  const query = useQuery({
    queryKey: ["job", id],
    queryFn: () => body(api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: id } } })),
    refetchInterval: ({ state }) => (state.data && OVER.includes(state.data.state) ? false : 1000),
  });
  const job = query.data;
  const done = job?.state === "done";
  useEffect(() => {
    if (done) for (const queryKey of stale) void queries.invalidateQueries({ queryKey });
    // eslint-disable-next-line react-hooks/exhaustive-deps -- once, when it is done
  }, [done]);
  if (!job) return null;
  return (
    <Alert variant="light" color={job.state === "failed" ? "red" : "sea"} role="status">
      <Stack gap={6}>
        <Group justify="space-between">
          <Text size="sm" fw={600}>
            {words.names[job.name as keyof typeof words.names]}
          </Text>
          <Badge color={job.state === "failed" ? "red" : "sea"}>{words.states[job.state]}</Badge>
        </Group>
        <Progress value={done ? 100 : job.progress * 100} aria-label={words.progress} animated={job.state === "running"} />
        {job.step && <Text size="xs">{job.step}</Text>}
        {job.error && <Text size="sm">{job.error}</Text>}
      </Stack>
    </Alert>
  );
}
