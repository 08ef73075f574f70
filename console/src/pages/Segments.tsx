import { Anchor, Button, Code, Group, Stack, Text, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { Bars } from "../charts/kinds";
import { named } from "../ui/Action";
import { useAct } from "../ui/acts";
import { Page, Panel } from "../ui/Page";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Segment = Schemas["Segment"];

export default function Segments() {
  const { pages, segmentsPage: words } = useWords();
  const query = useQuery({ queryKey: ["segments"], queryFn: () => body(api.GET("/v1/segments")) });
  return (
    <Page title={pages.segments} lead={words.lead}>
      <Answered query={query}>
        {(all) =>
          all.length === 0 ? (
            <Panel>
              <Empty title={words.none} />
            </Panel>
          ) : (
            <>
              {(["rfm", "stage", "audience"] as const).map((kind) => (
                <Sizes key={kind} kind={kind} all={all} />
              ))}
            </>
          )
        }
      </Answered>
      <Ask />
    </Page>
  );
}

function Sizes({ kind, all }: { kind: Segment["kind"]; all: readonly Segment[] }) {
  const { segmentsPage: words, segments, stages } = useWords();
  const say = useFormats();
  const rows = useMemo(() => {
    const names: Record<string, string> = { rfm: segments, stage: stages, audience: {} }[kind];
    return all.filter((one) => one.kind === kind).map((one) => ({ name: named(names, one.name), value: one.customers }));
  }, [all, kind, segments, stages]);
  if (rows.length === 0) return null;
  return (
    <Panel title={words.kinds[kind]}>
      <Bars label={words.kinds[kind]} rows={rows} say={say.number} head={words.customers} />
    </Panel>
  );
}

function Ask() {
  const { segmentsPage: words } = useWords();
  const say = useFormats();
  const [expression, setExpression] = useState("");
  const columns = useQuery({ queryKey: ["segments", "columns"], queryFn: () => body(api.GET("/v1/segments/columns")) });
  const ask = useAct({ act: () => body(api.POST("/v1/segments/evaluate", { body: { expression } })), done: () => null, stale: [] });
  return (
    <Panel title={words.ask} note={words.askNote}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          ask.mutate(undefined);
        }}
      >
        <Stack gap="sm">
          <Textarea label={words.expression} value={expression} onChange={(e) => setExpression(e.currentTarget.value)} placeholder={'recency_days > 30 and stage != "new"'} autosize minRows={2} />
          <Group>
            <Button type="submit" variant="default" disabled={!expression.trim()} loading={ask.isPending}>
              {words.count}
            </Button>
            <Text aria-live="polite" fw={600}>
              {ask.data && words.found(say.number(ask.data.customers), say.share(ask.data.share))}
            </Text>
          </Group>
          {ask.data && ask.data.some.length > 0 && (
            <Group gap="xs">
              {ask.data.some.map((one) => (
                <Anchor key={one.customer} component={Link} size="sm" to={`/customers/${encodeURIComponent(one.customer)}`}>
                  {one.customer}
                </Anchor>
              ))}
            </Group>
          )}
          <details>
            <summary>{words.columns}</summary>
            <Answered query={columns}>
              {(rows) => (
                <Rows
                  caption={words.columns}
                  rows={rows}
                  keyOf={(row) => row.name}
                  columns={[
                    { head: words.name, cell: (row) => <Code>{row.name}</Code> },
                    { head: words.kind, cell: (row) => words.columnKinds[row.kind] },
                    { head: words.known, number: true, cell: (row) => say.share(row.known, 0) },
                    { head: words.values, cell: (row) => <Text size="xs">{row.values.slice(0, 8).join(", ")}</Text> },
                  ]}
                />
              )}
            </Answered>
          </details>
        </Stack>
      </form>
    </Panel>
  );
}
