import { Badge, Button, Group, SegmentedControl, SimpleGrid, Stack, Text, TextInput, Timeline } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { useSession, useShop } from "../shell/session";
import { named, useAction } from "../ui/Action";
import { useAct } from "../ui/acts";
import { Ask } from "../ui/Ask";
import { Facts } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";
import { Reasons } from "./Reasons";

type Told = Schemas["Customer"];
type Entry = Schemas["Entry"];

/** One customer: what the shop knows, what happened, why it did what it did; and their rights. */
export function Customer() {
  const { customer = "" } = useParams();
  const [search] = useSearchParams();
  const { customers: words } = useWords();
  const [shown, setShown] = useState("why");
  const path = { customer };
  const query = useQuery({ queryKey: ["customer", customer], queryFn: () => body(api.GET("/v1/customers/{customer}", { params: { path } })) });
  return (
    <Page title={customer} lead={words.oneLead} actions={<Rights customer={customer} />}>
      <Answered query={query}>
        {(told) => (
          <>
            <Known told={told} />
            <SegmentedControl className="fits"
              value={shown}
              onChange={setShown}
              aria-label={words.shown}
              data={[
                { value: "why", label: words.why },
                { value: "timeline", label: words.timeline },
                { value: "consents", label: words.consents },
              ]}
            />
            {shown === "why" && <Reasons customer={customer} plan={search.get("plan") ?? undefined} />}
            {shown === "timeline" && <Happened customer={customer} />}
            {shown === "consents" && <Consents told={told} />}
          </>
        )}
      </Answered>
    </Page>
  );
}

function Known({ told }: { told: Told }) {
  const { customers: words, stages, segments, tags } = useWords();
  const say = useFormats();
  const { profile } = told;
  if (!profile) return <Panel><Empty title={words.noProfile} /></Panel>;
  const currency = profile.currency;
  const money = (value: number | null) => (value === null ? "–" : currency ? say.money(value, currency) : say.number(value));
  return (
    <Panel>
      <Stack gap="md">
        <Facts
          facts={[
            { name: words.segment, value: named(segments, profile.segment), note: named(stages, profile.stage) },
            { name: words.orders, value: say.number(profile.frequency), note: words.aov(money(profile.aov)) },
            { name: words.spent, value: money(profile.monetary) },
            { name: words.expected, value: money(profile.expected_value), note: profile.horizon_days === null ? undefined : words.within(profile.horizon_days) },
            { name: words.churn, value: profile.churn === null ? "–" : say.share(profile.churn, 0) },
          ]}
        />
        <Group gap={6}>
          {told.tags.map((tag) => (
            <Badge key={tag.tag} color="gray" title={words.tag(say.share(tag.confidence, 0), say.day(tag.expires_at), tag.source)}>
              {named(tags, tag.tag)}: {tag.value.split(" > ").at(-1)} · {say.share(tag.confidence, 0)}
            </Badge>
          ))}
        </Group>
      </Stack>
    </Panel>
  );
}

function Happened({ customer }: { customer: string }) {
  const { customers: words, kinds, channels, states, variants } = useWords();
  const say = useFormats();
  const action = useAction();
  const query = usePages(["customer", customer, "timeline"], (after) =>
    body(api.GET("/v1/customers/{customer}/timeline", { params: { path: { customer }, query: { after, limit: 25 } } })),
  );
  const title = (row: Entry) => {
    if (row.sort === "decision") return words.decided(action(row.action ?? "nothing"), row.variant === "holdout" ? variants.holdout : "");
    if (row.sort === "message") return words.message(named(channels, row.channel ?? ""), named(states, row.state ?? ""));
    return [named(kinds, row.kind ?? ""), row.item].filter(Boolean).join(" ");
  };
  return (
    <Panel title={words.timeline}>
      <Answered query={query}>
        {(rows) => (
          <Timeline bulletSize={14} lineWidth={2}>
            {rows.map((row) => (
              <Timeline.Item key={`${row.sort}${row.id}`} title={<Text size="sm" fw={row.sort === "event" ? 400 : 600}>{title(row)}</Text>} color={row.sort === "event" ? "gray" : "sea"}>
                <Text size="xs" c="dimmed">
                  {say.time(row.at)}
                  {row.value !== null && row.value !== undefined && row.currency ? ` · ${say.money(row.value, row.currency)}` : ""}
                  {row.text ? ` · ${row.text}` : ""}
                </Text>
              </Timeline.Item>
            ))}
          </Timeline>
        )}
      </Answered>
    </Panel>
  );
}

function Consents({ told }: { told: Told }) {
  const { customers: words, channels, consentStates } = useWords();
  const say = useFormats();
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }}>
      <Panel title={words.now}>
        <Group gap="xs">
          {told.consents.map((one) => (
            <Badge key={one.channel} size="lg" color={one.on ? "sea" : "gray"}>
              {named(channels, one.channel)}: {one.on ? words.on : words.off}
              {one.fixed && ` (${one.fixed})`}
            </Badge>
          ))}
        </Group>
      </Panel>
      <Panel title={words.said}>
        <Rows
          caption={words.said}
          rows={told.history}
          keyOf={(_, place) => String(place)}
          columns={[
            { head: words.at, cell: (row) => say.time(row.at) },
            { head: words.channel, cell: (row) => named(channels, row.channel) },
            { head: words.what, cell: (row) => consentStates[row.status] },
            { head: words.source, cell: (row) => row.source },
          ]}
        />
      </Panel>
    </SimpleGrid>
  );
}

function Rights({ customer }: { customer: string }) {
  const { customers: words } = useWords();
  const session = useSession();
  const { shop } = useShop();
  const go = useNavigate();
  const [erasing, setErasing] = useState(false);
  const [typed, setTyped] = useState("");
  const exported = useAct({
    act: () => body(api.POST("/v1/customers/{customer}/export", { params: { path: { customer } } })),
    done: words.exported,
    stale: [],
    after: (data) => save(`${shop}-${customer}.json`, data),
  });
  const erase = useAct({
    act: () => body(api.DELETE("/v1/customers/{customer}", { params: { path: { customer }, query: { confirm: typed } } })),
    done: words.erased,
    stale: [["customers"]],
    after: () => void go("/customers"),
  });
  if (!session.data?.scopes.includes("privacy")) return null;
  return (
    <>
      <Button variant="default" loading={exported.isPending} onClick={() => exported.mutate(undefined)}>
        {words.export}
      </Button>
      <Button variant="outline" color="red" onClick={() => setErasing(true)}>
        {words.erase}
      </Button>
      <Ask open={erasing} title={words.eraseAsk(customer)} act={words.erase} danger busy={erase.isPending} disabled={typed !== customer} onAct={() => erase.mutate(undefined)} onClose={() => setErasing(false)}>
        <Text size="sm">{words.eraseWhat}</Text>
        <TextInput label={words.eraseConfirm} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} data-autofocus />
      </Ask>
    </>
  );
}

function save(name: string, data: unknown): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
