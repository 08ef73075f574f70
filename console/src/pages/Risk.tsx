import { Alert, Anchor, Badge, Button, Code, Group, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";

import { api, body, type Got } from "../api/client";
import { useSession, useShop } from "../shell/session";
import { useAct } from "../ui/acts";
import { Facts } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useSentence, useWords } from "../words";
import { useFormats } from "../words/format";

type Check = Got<"/v1/risk/reviews">[number];
type Rule = Got<"/v1/risk/rules">["rules"][number];
const COLOURS: Record<string, string> = { allow: "sea", review: "orange", block: "red" };

export default function Risk() {
  const { pages, risk: words } = useWords();
  const rules = useQuery({ queryKey: ["risk", "rules"], queryFn: () => body(api.GET("/v1/risk/rules")) });
  const waiting = useQuery({ queryKey: ["risk", "reviews"], queryFn: () => body(api.GET("/v1/risk/reviews")) });
  return (
    <Page title={pages.risk} lead={words.lead}>
      <Panel title={words.queue} note={words.queueNote}>
        <Answered query={waiting}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Stack>
                {rows.map((row) => (
                  <Review key={row.check_id} check={row} />
                ))}
              </Stack>
            )
          }
        </Answered>
      </Panel>
      <Panel title={words.rules} note={words.rulesNote}>
        <Answered query={rules}>
          {(told) => (
            <Stack>
              {told.fault && <Alert color="red">{told.fault}</Alert>}
              {told.rules.length === 0 && !told.fault && <Empty title={words.noRules}>{words.noRulesWhat}</Empty>}
              {told.rules.map((rule) => (
                <OneRule key={rule.name} rule={rule} />
              ))}
            </Stack>
          )}
        </Answered>
      </Panel>
      <Trusted />
    </Page>
  );
}

function Review({ check }: { check: Check }) {
  const { risk: words } = useWords();
  const sentence = useSentence();
  const say = useFormats();
  const { currency } = useShop();
  const may = useSession().data?.scopes.includes("risk");
  const [note, setNote] = useState("");
  const settle = useAct({
    act: (decision: "approve" | "reject") => api.POST("/v1/risk/reviews/{check_id}/settle", { params: { path: { check_id: check.check_id } }, body: { decision, note } }),
    done: words.settled,
    stale: [["risk"]],
  });
  return (
    <Panel padding="md">
      <Stack gap="xs">
        <Group justify="space-between">
          <Group gap="xs">
            <Badge color={COLOURS[check.verdict]} c={check.verdict === "review" ? "var(--warn-ink)" : undefined}>
              {words.verdicts[check.verdict]}
            </Badge>
            {check.customer && (
              <Anchor component={Link} size="sm" to={`/customers/${encodeURIComponent(check.customer)}`}>
                {check.customer}
              </Anchor>
            )}
            {check.amount !== null && currency && <Text size="sm">{say.money(check.amount, currency)}</Text>}
          </Group>
          <Text size="xs" c="dimmed">
            {say.time(check.at)}
          </Text>
        </Group>
        {check.fired.map((one) => (
          <Text key={one.rule} size="sm">
            <b>{one.rule}</b>: {sentence(one)}
          </Text>
        ))}
        {may && (
          <Group align="flex-end">
            <TextInput label={words.note} value={note} onChange={(e) => setNote(e.currentTarget.value)} style={{ flexGrow: 1 }} />
            <Button variant="default" loading={settle.isPending} onClick={() => settle.mutate("approve")}>
              {words.approve}
            </Button>
            <Button variant="outline" color="red" loading={settle.isPending} onClick={() => settle.mutate("reject")}>
              {words.reject}
            </Button>
          </Group>
        )}
      </Stack>
    </Panel>
  );
}

function OneRule({ rule }: { rule: Rule }) {
  const { risk: words } = useWords();
  const sentence = useSentence();
  const may = useSession().data?.scopes.includes("operate");
  const params = { path: { rule: rule.name } };
  const stale = [["risk", "rules"]];
  const test = useAct({ act: () => api.POST("/v1/risk/rules/{rule}/backtest", { params }), done: words.tested, stale });
  const activate = useAct({ act: () => api.POST("/v1/risk/rules/{rule}/activate", { params }), done: words.acts, stale });
  const shadow = useAct({ act: () => api.POST("/v1/risk/rules/{rule}/shadow", { params }), done: words.watches, stale });
  return (
    <Panel
      padding="md"
      title={rule.name}
      note={sentence(rule)}
      aside={<Badge color={rule.acting ? "sea" : "gray"}>{rule.acting ? words.acting : words.watching}</Badge>}
    >
      <Stack gap="sm">
        <Code block>{rule.text}</Code>
        {!rule.acting && rule.why && <Text size="sm">{rule.why}</Text>}
        {rule.backtest && <Tested test={rule.backtest} />}
        {may && (
          <Group gap="xs">
            <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate(undefined)}>
              {words.backtest}
            </Button>
            {rule.acting ? (
              <Button size="xs" variant="default" loading={shadow.isPending} onClick={() => shadow.mutate(undefined)}>
                {words.shadow}
              </Button>
            ) : (
              <Button size="xs" disabled={!rule.backtest} loading={activate.isPending} onClick={() => activate.mutate(undefined)}>
                {words.activate}
              </Button>
            )}
          </Group>
        )}
      </Stack>
    </Panel>
  );
}

function Tested({ test }: { test: NonNullable<Rule["backtest"]> }) {
  const { risk: words } = useWords();
  const say = useFormats();
  const { currency } = useShop();
  const share = (value: number | null) => (value === null ? "–" : say.share(value));
  const range = (low: number | null, high: number | null) => (low === null || high === null ? words.unknown : `${say.share(low)} … ${say.share(high)}`);
  return (
    <Facts
      facts={[
        { name: words.fired, value: say.number(test.fired), note: words.ofRows(say.number(test.rows)) },
        { name: words.precision, value: share(test.precision), note: range(test.precision_low, test.precision_high) },
        { name: words.recall, value: share(test.recall), note: range(test.recall_low, test.recall_high) },
        { name: words.caught, value: currency ? say.money(test.money_caught, currency) : say.number(test.money_caught), note: share(test.money_share) },
        { name: words.good, value: currency ? say.money(test.money_good, currency) : say.number(test.money_good) },
      ]}
    />
  );
}

function Trusted() {
  const { risk: words } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["risk", "trusted"], queryFn: () => body(api.GET("/v1/risk/trusted")) });
  return (
    <Panel title={words.trusted} note={words.trustedNote}>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Text size="sm">{words.nobody}</Text>
          ) : (
            <Rows
              caption={words.trusted}
              rows={rows}
              keyOf={(row) => `${row.kind}${row.subject}`}
              columns={[
                { head: words.who, cell: (row) => `${row.kind} ${row.subject}` },
                { head: words.why, cell: (row) => row.why },
                { head: words.by, cell: (row) => row.by },
                { head: words.until, cell: (row) => say.day(row.expires_at) },
              ]}
            />
          )
        }
      </Answered>
    </Panel>
  );
}
