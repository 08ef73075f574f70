import { Anchor, Badge, Button, SimpleGrid, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, Route, Routes, useParams } from "react-router";

import { api, body, type Got } from "../api/client";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Report } from "../ui/Report";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Load = Got<"/v1/data/loads">["rows"][number];
type Check = Got<"/v1/data/loads/{load_id}">["checks"][number];
const COLOURS: Record<Check["level"], string> = { PASS: "sea", WARN: "orange", FAIL: "red" };

export default function Data() {
  return (
    <Routes>
      <Route index element={<All />} />
      <Route path=":load" element={<One />} />
    </Routes>
  );
}

function All() {
  const { pages, data: words } = useWords();
  const say = useFormats();
  const loads = usePages(["loads"], (after) => body(api.GET("/v1/data/loads", { params: { query: { after, limit: 20 } } })));
  const tables = useQuery({ queryKey: ["tables"], queryFn: () => body(api.GET("/v1/data/tables")) });
  const [looking, setLooking] = useState(false);
  const quality = useQuery({ queryKey: ["quality"], enabled: looking, queryFn: () => body(api.GET("/v1/data/quality")) });
  return (
    <Page title={pages.data} lead={words.lead}>
      <Panel title={words.loads}>
        <Answered query={loads}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows<Load>
                caption={words.loads}
                rows={rows}
                keyOf={(row) => row.load_id}
                columns={[
                  { head: words.began, cell: (row) => <Anchor component={Link} to={row.load_id}>{say.time(row.started_at)}</Anchor> },
                  { head: words.source, cell: (row) => <Text size="sm" maw={260} truncate>{row.source}</Text> },
                  { head: words.stored, number: true, cell: (row) => (row.rows_stored === null ? "–" : say.number(row.rows_stored)) },
                  { head: words.quarantined, number: true, cell: (row) => (row.rows_quarantined === null ? "–" : say.number(row.rows_quarantined)) },
                  { head: words.duplicates, number: true, cell: (row) => (row.duplicates === null ? "–" : say.number(row.duplicates)) },
                  { head: words.checks, cell: (row) => <Found warned={row.warned} failed={row.failed} /> },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
      <Waiting />
      <Panel title={words.tables}>
        <Answered query={tables}>
          {(told) => (
            <Rows
              caption={words.tables}
              rows={told.tables}
              keyOf={(row) => row.name}
              columns={[
                { head: words.table, cell: (row) => row.name },
                { head: words.rows, number: true, cell: (row) => say.number(row.rows) },
                { head: words.size, number: true, cell: (row) => row.bytes < 1e6 ? `${say.number(row.bytes / 1e3)} kB` : `${say.number(row.bytes / 1e6, 1)} MB` },
                { head: words.newest, cell: (row) => say.time(row.committed_at) },
              ]}
            />
          )}
        </Answered>
      </Panel>
      <Panel title={words.quality} note={words.qualityNote} aside={!looking && <Button variant="default" onClick={() => setLooking(true)}>{words.look}</Button>}>
        {looking && <Answered query={quality}>{() => null}</Answered>}
      </Panel>
      {quality.data && <Report told={quality.data} />}
    </Page>
  );
}

function Found({ warned, failed }: { warned: number | null; failed: number | null }) {
  const { data: words } = useWords();
  if (warned === null || failed === null) return <>–</>;
  if (failed) return <Badge color="red">{words.failed(failed)}</Badge>;
  if (warned) return <Badge color="orange" c="var(--warn-ink)">{words.warned(warned)}</Badge>;
  return <Badge>{words.clean}</Badge>;
}

function Waiting() {
  const { data: words } = useWords();
  const query = usePages(["quarantine"], (after) => body(api.GET("/v1/data/quarantine", { params: { query: { after, limit: 10 } } })));
  return (
    <Panel title={words.quarantine} note={words.quarantineNote}>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.nobody} />
          ) : (
            <Rows
              caption={words.quarantine}
              rows={rows}
              keyOf={(row) => row.id}
              columns={[
                { head: words.where, cell: (row) => `${row.file}:${row.line}` },
                { head: words.field, cell: (row) => row.field },
                { head: words.value, cell: (row) => <Text size="sm" maw={180} truncate>{row.value ?? "–"}</Text> },
                { head: words.reason, cell: (row) => <Text size="sm" maw={420}>{row.reason}</Text> },
              ]}
            />
          )
        }
      </Answered>
    </Panel>
  );
}

function One() {
  const { load = "" } = useParams();
  const { data: words } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["load", load], queryFn: () => body(api.GET("/v1/data/loads/{load_id}", { params: { path: { load_id: load } } })) });
  return (
    <Page title={words.load} lead={query.data?.source}>
      <Answered query={query}>
        {(told) => (
          <>
            <Panel title={words.counts}>
              <Rows
                caption={words.counts}
                rows={told.counts}
                keyOf={(row) => `${row.source}${row.table}`}
                columns={[
                  { head: words.source, cell: (row) => row.source },
                  { head: words.table, cell: (row) => row.table },
                  { head: words.rowsIn, number: true, cell: (row) => say.number(row.rows_in) },
                  { head: words.stored, number: true, cell: (row) => say.number(row.stored) },
                  { head: words.duplicates, number: true, cell: (row) => say.number(row.duplicates) },
                  { head: words.quarantined, number: true, cell: (row) => say.number(row.quarantined) },
                ]}
              />
            </Panel>
            <Panel title={words.checks}>
              <Rows
                caption={words.checks}
                rows={told.checks}
                keyOf={(row, place) => `${row.name}${place}`}
                columns={[
                  { head: words.verdict, cell: (row) => <Badge color={COLOURS[row.level]} c={row.level === "WARN" ? "var(--warn-ink)" : undefined}>{words.levels[row.level]}</Badge> },
                  { head: words.check, cell: (row) => row.name },
                  { head: words.table, cell: (row) => row.table },
                  { head: words.count, number: true, cell: (row) => say.number(row.count) },
                  { head: words.example, cell: (row) => <Text size="xs" maw={260}>{row.example}</Text> },
                  { head: words.consequence, cell: (row) => <Text size="xs" maw={300}>{row.consequence}</Text> },
                ]}
              />
            </Panel>
            {told.assumptions.length > 0 && (
              <Panel title={words.assumptions}>
                <SimpleGrid cols={1} spacing={4}>
                  {told.assumptions.map((line) => (
                    <Text key={line} size="sm">
                      {line}
                    </Text>
                  ))}
                </SimpleGrid>
              </Panel>
            )}
          </>
        )}
      </Answered>
    </Page>
  );
}
