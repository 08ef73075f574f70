import { Alert, Badge, Button, Group, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useState } from "react";

import { api, body, type Schemas } from "../api/client";
import { useSession } from "../shell/session";
import { named } from "../ui/Action";
import { useAct } from "../ui/acts";
import { Ranged } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Review = Schemas["Review"];
type Line = Schemas["CopyLine"];

export default function Copy() {
  const { pages, copy: words } = useWords();
  const query = usePages(["copy", "reviews"], (after) => body(api.GET("/v1/copy/reviews", { params: { query: { after, limit: 12 } } })));
  return (
    <Page title={pages.copy} lead={words.lead}>
      <Panel title={words.queue} note={words.queueNote}>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Stack>
                {rows.map((row) => (
                  <One key={`${row.component}:${row.version}`} review={row} />
                ))}
              </Stack>
            )
          }
        </Answered>
      </Panel>
      <Lines />
    </Page>
  );
}

/** Words that wait, with the evidence beside them: what they claim, which facts fill them, what the guard found. */
function One({ review }: { review: Review }) {
  const { copy: words, channels } = useWords();
  const session = useSession();
  const may = session.data?.scopes.includes("copy");
  const path = { component: review.component };
  const told = { version: review.version, why: "" };
  const stale = [["copy"]];
  const approve = useAct({ act: () => api.POST("/v1/copy/{component}/approve", { params: { path }, body: told }), done: words.approved, stale });
  const reject = useAct({ act: () => api.POST("/v1/copy/{component}/reject", { params: { path }, body: told }), done: words.rejected, stale });
  return (
    <Panel padding="md" shadow="none">
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg">
        <Stack gap={6}>
          <Group gap={6}>
            <Badge color={review.state === "draft" ? "red" : "sea"}>{words.states[review.state]}</Badge>
            {review.role && <Badge color="gray">{review.role}</Badge>}
            {review.channels.map((one) => (
              <Badge key={one} color="gray">
                {named(channels, one)}
              </Badge>
            ))}
          </Group>
          <Text fw={600} lang={review.locale} style={{ whiteSpace: "pre-line" }}>
            <Marked text={review.text} spans={review.verdicts} />
          </Text>
          {review.in_use && (
            <Text size="sm" c="dimmed" lang={review.locale}>
              {words.inUse}: {review.in_use}
            </Text>
          )}
          <Text size="xs" c="dimmed">
            {review.component} · {words.version(review.version)} · {review.by}
          </Text>
        </Stack>
        <Stack gap={6}>
          <Text size="sm">
            <b>{words.facts}:</b> {review.facts.map((fact) => `${fact.name} (${fact.kind})`).join(", ") || words.noFacts}
          </Text>
          <Text size="sm">
            <b>{words.claims}:</b> {review.claims.join(", ") || words.noClaims}
          </Text>
          {review.verdicts.length === 0 ? (
            <Text size="sm" c="sea.8">
              {words.clean}
            </Text>
          ) : (
            review.verdicts.map((one) => (
              <Alert key={`${one.rule}${one.begin}`} color={one.severity === "block" ? "red" : "orange"} p="xs">
                <Text size="sm">
                  <b>{one.found}</b>: {one.reason}
                </Text>
              </Alert>
            ))
          )}
          {may && (
            <Group gap="xs" mt={4}>
              {review.state === "checked" && (
                <Button size="xs" loading={approve.isPending} onClick={() => approve.mutate(undefined)}>
                  {words.approve}
                </Button>
              )}
              <Button size="xs" variant="default" loading={reject.isPending} onClick={() => reject.mutate(undefined)}>
                {words.reject}
              </Button>
            </Group>
          )}
        </Stack>
      </SimpleGrid>
    </Panel>
  );
}

function Marked({ text, spans }: { text: string; spans: Review["verdicts"] }) {
  const first = spans.find((one) => one.end > one.begin && one.end <= text.length);
  if (!first) return <>{text}</>;
  return (
    <>
      {text.slice(0, first.begin)}
      <mark className="bad">{text.slice(first.begin, first.end)}</mark>
      {text.slice(first.end)}
    </>
  );
}

const VERDICTS = ["wins", "loses", "cannot tell", "too few sends", "control"] as const;
const COLOURS: Record<Line["verdict"], string> = { wins: "sea", loses: "red", "cannot tell": "gray", "too few sends": "gray", control: "blue" };

/** A difference of shares, in points of a hundred. */
function inPoints(of: Line["difference"]): Line["difference"] {
  const points = (value: number | null) => (value === null ? null : 100 * value);
  return of && { ...of, value: points(of.value), low: points(of.low), high: points(of.high), unit: "ratio" };
}

function Lines() {
  const { copy: words } = useWords();
  const say = useFormats();
  const [verdict, setVerdict] = useState<Line["verdict"] | null>(null);
  const query = usePages(["copy", "lines", verdict], (after) =>
    body(api.GET("/v1/copy/lines", { params: { query: { after, verdict: verdict ?? undefined, limit: 25 } } })),
  );
  return (
    <Panel title={words.lines} note={words.linesNote}>
      <Select
        label={words.verdict}
        data={VERDICTS.map((value) => ({ value, label: words.verdicts[value] }))}
        value={verdict}
        onChange={setVerdict}
        clearable
        clearButtonProps={{ "aria-label": words.all }}
        placeholder={words.all}
        w={220}
        mb="sm"
      />
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.noLines}>{words.noLinesWhat}</Empty>
          ) : (
            <Rows<Line>
              caption={words.lines}
              rows={rows}
              keyOf={(row) => `${row.locale}${row.role}${row.component}`}
              columns={[
                { head: words.text, cell: (row) => <Text size="sm" lang={row.locale} maw={360}>{row.text}</Text> },
                { head: words.role, cell: (row) => row.role },
                { head: words.verdict, cell: (row) => <Badge color={COLOURS[row.verdict]}>{words.verdicts[row.verdict]}</Badge> },
                { head: words.sends, number: true, cell: (row) => say.number(row.sends) },
                { head: words.rate, number: true, cell: (row) => (row.rate === null ? "–" : say.share(row.rate)) },
                { head: words.difference, number: true, cell: (row) => <Ranged of={inPoints(row.difference)} currency={null} stacked /> },
              ]}
            />
          )
        }
      </Answered>
    </Panel>
  );
}
