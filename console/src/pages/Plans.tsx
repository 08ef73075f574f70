import { Anchor, Badge, Group, SegmentedControl, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, Route, Routes, useParams } from "react-router";

import { api, body, type Got, type Schemas } from "../api/client";
import { Bars } from "../charts/kinds";
import { Action, named } from "../ui/Action";
import { Facts } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Report } from "../ui/Report";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";
import { Verdict } from "./Earned";
import { useWork } from "./PlanWork";

type Line = Schemas["PlanLine"];
type Counts = Schemas["PlanCounts"];
type Decided = Got<"/v1/plans/{plan_id}/decisions">["rows"][number];
type Preview = Schemas["Preview"];

export default function Plans() {
  return (
    <Routes>
      <Route index element={<List />} />
      <Route path=":plan" element={<One />} />
    </Routes>
  );
}

function List() {
  const { pages, plans: words } = useWords();
  const say = useFormats();
  const query = usePages(["plans"], (after) => body(api.GET("/v1/plans", { params: { query: { after } } })));
  return (
    <Page title={pages.plans} lead={words.lead}>
      <Panel>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows<Line>
                caption={pages.plans}
                rows={rows}
                keyOf={(row) => row.plan_id}
                columns={[
                  { head: words.asOf, cell: (row) => <Anchor component={Link} to={row.plan_id}>{say.time(row.as_of)}</Anchor> },
                  { head: words.campaign, cell: (row) => row.campaign ?? "–" },
                  { head: words.budget, number: true, cell: (row) => (row.budget === null ? "–" : say.money(row.budget, row.currency, true)) },
                  { head: words.expected, number: true, cell: (row) => (row.expected_profit === null ? "–" : say.money(row.expected_profit, row.currency, true)) },
                  { head: words.holdout, number: true, cell: (row) => say.share(row.holdout) },
                  { head: words.window, number: true, cell: (row) => words.days(row.window_days) },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
    </Page>
  );
}

function One() {
  const { plan = "" } = useParams();
  const { plans: words } = useWords();
  const say = useFormats();
  const [shown, setShown] = useState("who");
  const path = { plan_id: plan };
  const work = useWork(plan);
  const query = useQuery({ queryKey: ["plan", plan], queryFn: () => body(api.GET("/v1/plans/{plan_id}", { params: { path } })) });
  return (
    <Page title={query.data?.campaign ?? words.title} lead={query.data && say.time(query.data.as_of)} actions={work.actions}>
      {work.progress}
      <Answered query={query}>{(counts) => <Overview counts={counts} />}</Answered>
      <SegmentedControl className="fits"
        value={shown}
        onChange={setShown}
        data={[
          { value: "who", label: words.who },
          { value: "messages", label: words.messages },
          { value: "earned", label: words.report },
        ]}
        aria-label={words.shown}
      />
      {shown === "who" && query.data && <Decisions plan={plan} counts={query.data} />}
      {shown === "messages" && <Messages plan={plan} />}
      {shown === "earned" && <Measured plan={plan} />}
    </Page>
  );
}

const bars = (counts: Record<string, number>, name: (code: string) => string) =>
  Object.entries(counts)
    .map(([code, value]) => ({ name: name(code), value }))
    .toSorted((a, b) => b.value - a.value);

function Overview({ counts }: { counts: Counts }) {
  const { plans: words, channels, offerKinds } = useWords();
  const say = useFormats();
  const { currency } = counts;
  const offers = useMemo(() => bars(counts.offers, (code) => named(offerKinds, code)), [counts, offerKinds]);
  const ways = useMemo(() => bars(counts.channels, (code) => named(channels, code)), [counts, channels]);
  return (
    <Panel>
      <Stack gap="lg">
        <Facts
          facts={[
            { name: words.customers, value: say.number(counts.customers) },
            { name: words.treated, value: say.number(counts.treated), note: say.share(counts.treated / Math.max(1, counts.customers)) },
            { name: words.held, value: say.number(counts.held_out), note: words.heldNote },
            { name: words.expected, value: counts.expected_profit === null ? "–" : say.money(counts.expected_profit, currency, true), note: words.expectedNote },
            {
              name: words.reserved,
              value: say.money(counts.reserved, currency, true),
              note: counts.budget === null ? undefined : words.ofBudget(say.money(counts.budget, currency, true)),
            },
          ]}
        />
        <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xl">
          <div>
            <Text size="sm" fw={600}>
              {words.byOffer}
            </Text>
            <Bars label={words.byOffer} rows={offers} say={say.number} head={words.customers} />
          </div>
          <div>
            <Text size="sm" fw={600}>
              {words.byChannel}
            </Text>
            <Bars label={words.byChannel} rows={ways} say={say.number} head={words.customers} />
          </div>
        </SimpleGrid>
      </Stack>
    </Panel>
  );
}

function Decisions({ plan, counts }: { plan: string; counts: Counts }) {
  const { plans: words, variants } = useWords();
  const say = useFormats();
  const [action, setAction] = useState<string | null>(null);
  const [variant, setVariant] = useState<Decided["variant"] | null>(null);
  const query = usePages(["plan", plan, "decisions", action, variant], (after) =>
    body(
      api.GET("/v1/plans/{plan_id}/decisions", {
        params: { path: { plan_id: plan }, query: { after, action: action ?? undefined, variant: variant ?? undefined, limit: 25 } },
      }),
    ),
  );
  return (
    <Panel title={words.who} note={words.whoNote}>
      <Group mb="sm">
        <Select label={words.offer} data={["nothing", ...Object.keys(counts.offers)]} value={action} onChange={setAction} clearable clearButtonProps={{ "aria-label": words.all }} placeholder={words.all} />
        <Select
          label={words.variant}
          data={[
            { value: "treat", label: variants.treat },
            { value: "holdout", label: variants.holdout },
          ]}
          value={variant}
          onChange={setVariant}
          clearable
          clearButtonProps={{ "aria-label": words.all }}
          placeholder={words.all}
        />
      </Group>
      <Answered query={query}>
        {(rows) => (
          <Rows<Decided>
            caption={words.who}
            rows={rows}
            keyOf={(row) => row.decision_id}
            columns={[
              { head: words.customer, cell: (row) => <Anchor component={Link} to={`/customers/${encodeURIComponent(row.customer)}?plan=${plan}`}>{row.customer}</Anchor> },
              { head: words.gets, cell: (row) => <Action of={row.action} /> },
              { head: words.variant, cell: (row) => <Badge color={row.variant === "holdout" ? "gray" : "sea"}>{variants[row.variant]}</Badge> },
              { head: words.chance, number: true, cell: (row) => say.share(row.propensity) },
              { head: words.value, number: true, cell: (row) => say.money(row.value, counts.currency) },
              { head: words.cost, number: true, cell: (row) => say.money(row.cost, counts.currency) },
              { head: words.sendAt, cell: (row) => (row.send_at ? say.time(row.send_at) : "–") },
            ]}
          />
        )}
      </Answered>
    </Panel>
  );
}

function Messages({ plan }: { plan: string }) {
  const { plans: words, channels, states } = useWords();
  const say = useFormats();
  const query = usePages(["plan", plan, "messages"], (after) =>
    body(api.GET("/v1/plans/{plan_id}/messages", { params: { path: { plan_id: plan }, query: { after, limit: 12 } } })),
  );
  return (
    <Panel title={words.messages} note={words.messagesNote}>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.noMessages}>{words.noMessagesWhat}</Empty>
          ) : (
            <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
              {rows.map((row: Preview) => (
                <Panel key={row.message_id} padding="md" aside={<Badge color="gray">{named(states, row.state)}</Badge>} title={named(channels, row.channel)} note={row.customer}>
                  <Written parts={row.parts} lang={row.locale ?? undefined} />
                  {row.send_at && (
                    <Text size="xs" c="dimmed" mt="xs">
                      {say.time(row.send_at)}
                    </Text>
                  )}
                  {row.detail && <Text size="xs">{row.detail}</Text>}
                </Panel>
              ))}
            </SimpleGrid>
          )
        }
      </Answered>
    </Panel>
  );
}

const SHOWN = ["subject", "title", "preheader", "body", "action"];

/** The parts of a message in the order in which a reader meets them. */
export function Written({ parts, lang }: { parts: Record<string, string>; lang?: string }) {
  return (
    <div lang={lang}>
      {SHOWN.filter((part) => parts[part]).map((part) => (
        <Text key={part} size="sm" fw={part === "subject" || part === "title" ? 600 : 400} style={{ whiteSpace: "pre-line" }}>
          {parts[part]}
        </Text>
      ))}
    </div>
  );
}

function Measured({ plan }: { plan: string }) {
  const path = { plan_id: plan };
  const earned = useQuery({ queryKey: ["earned", plan], queryFn: () => body(api.GET("/v1/plans/{plan_id}/earned", { params: { path } })) });
  const report = useQuery({ queryKey: ["report", plan], queryFn: () => body(api.GET("/v1/plans/{plan_id}/report", { params: { path } })) });
  return (
    <>
      <Answered query={earned}>{(outcome) => <Verdict outcome={outcome} />}</Answered>
      <Answered query={report}>{(told) => <Report told={told} />}</Answered>
    </>
  );
}
