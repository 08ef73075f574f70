import { Alert, Anchor, Badge, Button, Code, List, Progress, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, Route, Routes, useNavigate, useParams } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { Bars } from "../charts/kinds";
import { useSession } from "../shell/session";
import { named } from "../ui/Action";
import { useAct } from "../ui/acts";
import { Ask } from "../ui/Ask";
import { Facts } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";
import { Brief } from "./Brief";

type Version = Schemas["CampaignVersion"];
type Now = Schemas["CampaignNow"];
type Summary = NonNullable<Version["shown"]>;

export default function Campaigns() {
  return (
    <Routes>
      <Route index element={<All />} />
      <Route path="new" element={<Brief />} />
      <Route path=":campaign" element={<One />} />
      <Route path=":campaign/change" element={<Change />} />
    </Routes>
  );
}

const COLOURS: Record<Version["state"], string> = { draft: "gray", planned: "blue", approved: "indigo", running: "sea", paused: "orange", done: "gray" };

function State({ state }: { state: Version["state"] }) {
  const { campaignStates } = useWords();
  return <Badge color={COLOURS[state]} c={state === "paused" ? "var(--warn-ink)" : undefined}>{campaignStates[state]}</Badge>;
}

function useMayAct(): boolean {
  const session = useSession();
  return session.data?.scopes.includes("campaigns") ?? false;
}

function All() {
  const { pages, campaigns: words } = useWords();
  const say = useFormats();
  const may = useMayAct();
  const query = usePages(["campaigns"], (after) => body(api.GET("/v1/campaigns", { params: { query: { after } } })));
  const fresh = may && (
    <Button component={Link} to="new">
      {words.write}
    </Button>
  );
  return (
    <Page title={pages.campaigns} lead={words.lead} actions={fresh}>
      <Panel>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows<Version>
                caption={pages.campaigns}
                rows={rows.filter((row, place) => rows.findIndex((other) => other.campaign === row.campaign) === place)}
                keyOf={(row) => row.campaign}
                columns={[
                  { head: words.name, cell: (row) => <Anchor component={Link} to={row.campaign}>{row.campaign}</Anchor> },
                  { head: words.state, cell: (row) => <State state={row.state} /> },
                  { head: words.goal, cell: (row) => row.spec.goal },
                  { head: words.budget, number: true, cell: (row) => row.spec.budget },
                  { head: words.from, cell: (row) => row.spec.from },
                  { head: words.until, cell: (row) => row.spec.until },
                  { head: words.version, number: true, cell: (row) => row.version },
                  { head: words.changed, cell: (row) => say.time(row.updated_at) },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
    </Page>
  );
}

function Change() {
  const { campaign = "" } = useParams();
  const query = useQuery({ queryKey: ["campaign", campaign], queryFn: () => body(api.GET("/v1/campaigns/{campaign}", { params: { path: { campaign } } })) });
  return <Answered query={query}>{(now) => <Brief spec={now.spec} />}</Answered>;
}

function One() {
  const { campaign = "" } = useParams();
  const { campaigns: words } = useWords();
  const query = useQuery({ queryKey: ["campaign", campaign], queryFn: () => body(api.GET("/v1/campaigns/{campaign}", { params: { path: { campaign } } })) });
  return (
    <Page title={campaign} lead={query.data?.spec.goal} actions={query.data && <Moves now={query.data} />}>
      <Answered query={query}>
        {(now) => (
          <>
            <Steps now={now} />
            {now.shown && <Shown summary={now.shown} />}
            <SimpleGrid cols={{ base: 1, md: 2 }}>
              {now.budget && <Spent budget={now.budget} />}
              {now.guard.length > 0 && <Rails now={now} />}
            </SimpleGrid>
            {now.plans.length > 0 && (
              <Panel title={words.plans}>
                <List>
                  {now.plans.map((plan) => (
                    <List.Item key={plan}>
                      <Anchor component={Link} to={`/plans/${plan}`}>
                        <Code>{plan.slice(0, 12)}</Code>
                      </Anchor>
                    </List.Item>
                  ))}
                </List>
              </Panel>
            )}
            <Written now={now} />
            <Moved campaign={campaign} />
          </>
        )}
      </Answered>
    </Page>
  );
}

type Move = "plan" | "approve" | "apply" | "pause" | "resume" | "finish";
const NEXT: Record<Version["state"], Move[]> = {
  draft: ["plan"],
  planned: ["approve", "plan"],
  approved: ["apply", "plan"],
  running: ["pause", "finish"],
  paused: ["resume", "finish"],
  done: [],
};

function useMove(campaign: string) {
  const { campaigns: words } = useWords();
  const path = { params: { path: { campaign } } };
  return useAct({
    act: async ({ move, why }: { move: Move; why: string }): Promise<unknown> => {
      switch (move) {
        case "plan":
          return api.POST("/v1/campaigns/{campaign}/plan", { ...path, body: {} });
        case "approve":
          return api.POST("/v1/campaigns/{campaign}/approve", path);
        case "apply":
          return api.POST("/v1/campaigns/{campaign}/apply", path);
        case "pause":
          return api.POST("/v1/campaigns/{campaign}/pause", { ...path, body: { why } });
        case "resume":
          return api.POST("/v1/campaigns/{campaign}/resume", { ...path, body: { why } });
        case "finish":
          return api.POST("/v1/campaigns/{campaign}/finish", { ...path, body: { why } });
      }
    },
    done: words.moved,
    stale: [["campaign", campaign], ["campaigns"], ["plans"]],
  });
}

function Moves({ now }: { now: Now }) {
  const { campaigns: words } = useWords();
  const may = useMayAct();
  const go = useNavigate();
  const move = useMove(now.campaign);
  const [asked, setAsked] = useState<Move | null>(null);
  const [why, setWhy] = useState("");
  if (!may) return null;
  const start = (one: Move) => (one === "plan" || one === "resume" ? move.mutate({ move: one, why: "" }) : setAsked(one));
  return (
    <>
      {now.state !== "done" && (
        <Button variant="default" onClick={() => void go("change")}>
          {words.change}
        </Button>
      )}
      {NEXT[now.state].toReversed().map((one, place, all) => (
        <Button
          key={one}
          variant={place === all.length - 1 && one !== "finish" ? "filled" : "default"}
          color={one === "finish" ? "red" : undefined}
          loading={move.isPending && move.variables.move === one}
          onClick={() => start(one)}
        >
          {words.moves[one]}
        </Button>
      ))}
      {asked && (
        <Ask
          open
          title={words.moves[asked]}
          act={words.moves[asked]}
          danger={asked === "finish"}
          busy={move.isPending}
          onAct={() => move.mutate({ move: asked, why }, { onSettled: () => setAsked(null) })}
          onClose={() => setAsked(null)}
        >
          <Text size="sm">{words.moveWhat[asked]}</Text>
          {(asked === "pause" || asked === "finish") && <TextInput label={words.why} value={why} onChange={(e) => setWhy(e.currentTarget.value)} data-autofocus />}
        </Ask>
      )}
    </>
  );
}

function Steps({ now }: { now: Now }) {
  const { campaigns: words } = useWords();
  return (
    <Alert variant="light" color={COLOURS[now.state]} title={<State state={now.state} />}>
      <Text size="sm">{words.nextStep[now.state]}</Text>
      {now.active !== now.version && <Text size="sm">{words.other(now.active, now.version)}</Text>}
    </Alert>
  );
}

function Shown({ summary }: { summary: Summary }) {
  const { campaigns: words, channels, offerKinds, reasons } = useWords();
  const say = useFormats();
  const money = (value: number) => say.money(value, summary.currency);
  const bars = (counts: Record<string, number>, names: Record<string, string>) => Object.entries(counts).map(([code, value]) => ({ name: named(names, code), value })).toSorted((a, b) => b.value - a.value);
  return (
    <Panel title={words.shown} note={words.shownNote(say.time(summary.as_of))}>
      <Stack gap="lg">
        <Facts
          facts={[
            { name: words.audience, value: say.number(summary.audience), note: words.ofAll(say.number(summary.customers)) },
            { name: words.gets, value: say.number(summary.treated) },
            { name: words.holdout, value: say.number(summary.holdout), note: words.holdoutNote },
            { name: words.cost, value: money(summary.expected_cost), note: words.worst(money(summary.worst_cost)) },
            { name: words.profit, value: money(summary.expected_profit), note: words.profitNote },
          ]}
        />
        {summary.firings !== null && <Text size="sm">{words.firings(summary.firings)}</Text>}
        <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xl">
          <div>
            <Text size="sm" fw={600}>{words.byOffer}</Text>
            <Bars label={words.byOffer} rows={bars(summary.offers, offerKinds)} say={say.number} head={words.gets} />
          </div>
          <div>
            <Text size="sm" fw={600}>{words.byChannel}</Text>
            <Bars label={words.byChannel} rows={bars(summary.channels, channels)} say={say.number} head={words.gets} />
          </div>
        </SimpleGrid>
        {Object.keys(summary.left_out).length > 0 && (
          <div>
            <Text size="sm" fw={600}>{words.leftOut}</Text>
            <List size="sm">
              {Object.entries(summary.left_out).toSorted(([, a], [, b]) => b - a).map(([reason, count]) => (
                <List.Item key={reason}>
                  {say.number(count)} × {named(reasons, reason)}
                </List.Item>
              ))}
            </List>
          </div>
        )}
      </Stack>
    </Panel>
  );
}

function Spent({ budget }: { budget: NonNullable<Now["budget"]> }) {
  const { campaigns: words } = useWords();
  const say = useFormats();
  const share = (value: number) => (budget.amount > 0 ? (100 * value) / budget.amount : 0);
  const money = (value: number) => say.money(value, budget.currency);
  return (
    <Panel title={words.money}>
      <Progress.Root size={18} aria-label={words.money}>
        <Progress.Section value={share(budget.spent)} color="sea" aria-label={words.spent} />
        <Progress.Section value={share(budget.reserved)} color="sea.4" aria-label={words.reserved} />
      </Progress.Root>
      <Facts
        facts={[
          { name: words.spent, value: money(budget.spent) },
          { name: words.reserved, value: money(budget.reserved) },
          { name: words.left, value: money(budget.amount - budget.spent - budget.reserved), note: words.ofAll(money(budget.amount)) },
        ]}
      />
    </Panel>
  );
}

function Rails({ now }: { now: Now }) {
  const { campaigns: words, rails } = useWords();
  const say = useFormats();
  const currency = now.budget?.currency ?? now.shown?.currency ?? null;
  const tell = (name: string, value: number | null) => {
    if (value === null) return words.tooEarly;
    return name.endsWith("_rate") || !currency ? say.share(value, 2) : say.money(value, currency);
  };
  return (
    <Panel title={words.guard} note={words.guardNote}>
      <Rows
        caption={words.guard}
        rows={now.guard}
        keyOf={(row) => row.name}
        columns={[
          { head: words.rail, cell: (row) => named(rails, row.name) },
          { head: words.limit, number: true, cell: (row) => tell(row.name, row.limit) },
          { head: words.value, number: true, cell: (row) => <Text size="sm" c={row.exceeded ? "red" : undefined} fw={row.exceeded ? 700 : 400}>{tell(row.name, row.value)}</Text> },
        ]}
      />
    </Panel>
  );
}

function Written({ now }: { now: Now }) {
  const { campaigns: words, channels } = useWords();
  const { spec } = now;
  const list = Array.isArray(spec.channels) ? spec.channels : Object.keys(spec.channels ?? {});
  const lines: [string, string][] = [
    [words.audience, spec.audience ?? words.everybody],
    [words.offers, spec.offers?.join(", ") ?? words.all],
    [words.channels, list.map((one) => named(channels, one)).join(", ") || words.all],
    [words.budget, spec.budget],
    [words.holdout, `${Math.round((spec.holdout) * 100)} %`],
    [words.window, String(spec.window_days)],
    [words.from, spec.from],
    [words.until, spec.until],
  ];
  return (
    <Panel title={words.brief}>
      <Rows caption={words.brief} rows={lines} keyOf={([key]) => key} columns={[{ head: words.what, width: 200, cell: ([key]) => key }, { head: words.says, cell: ([, value]) => value }]} />
    </Panel>
  );
}

function Moved({ campaign }: { campaign: string }) {
  const { campaigns: words } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["campaign", campaign, "history"], queryFn: () => body(api.GET("/v1/campaigns/{campaign}/history", { params: { path: { campaign } } })) });
  return (
    <Panel title={words.history}>
      <Answered query={query}>
        {(rows) => (
          <Rows
            caption={words.history}
            rows={rows.toReversed()}
            keyOf={(_, place) => String(place)}
            columns={[
              { head: words.at, cell: (row) => say.time(row.at) },
              { head: words.by, cell: (row) => row.by },
              { head: words.did, cell: (row) => row.action },
              { head: words.why, cell: (row) => row.why ?? "" },
            ]}
          />
        )}
      </Answered>
    </Panel>
  );
}
