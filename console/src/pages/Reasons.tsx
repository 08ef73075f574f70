import { Badge, Button, Group, List, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, body, type Got } from "../api/client";
import { Action, useAction } from "../ui/Action";
import { useAct } from "../ui/acts";
import { Panel } from "../ui/Page";
import { Rows } from "../ui/Rows";
import { Answered } from "../ui/Stated";
import { useLanguage, useWords } from "../words";
import { useFormats } from "../words/format";

type Why = Got<"/v1/customers/{customer}/why">;
const ACTION = /[\w.-]+\|[^|\s]*\|\w+/g; // offer|item|channel
const READERS = ["marketer", "customer", "auditor"] as const;

/** Why one customer got this, from the logged decision, and what would have been otherwise. */
export function Reasons({ customer, plan }: { customer: string; plan?: string }) {
  const { customers: words, readers } = useWords();
  const { language } = useLanguage();
  const action = useAction();
  const [reader, setReader] = useState<(typeof READERS)[number]>("marketer");
  const locale = language === "zh" ? "zh-CN" : "en";
  const query = useQuery({
    queryKey: ["customer", customer, "why", plan, reader, locale],
    queryFn: () => body(api.GET("/v1/customers/{customer}/why", { params: { path: { customer }, query: { plan, reader, locale } } })),
    placeholderData: (before) => before,
  });
  return (
    <Answered query={query}>
      {(why) => (
        <>
          <Panel
            title={words.whyTitle}
            note={words.checked(why.recomputed)}
            aside={
              <Select
                aria-label={words.reader}
                data={READERS.map((value) => ({ value, label: readers[value] }))}
                value={reader}
                onChange={(value) => value && setReader(value)}
                allowDeselect={false}
                w={190}
              />
            }
          >
            <List spacing={6} size="sm" listStyleType="none">
              {why.text.split("\n").map((line, place) => (
                <List.Item key={place} fw={place === 0 ? 600 : 400}>
                  {line.replaceAll(ACTION, action)}
                </List.Item>
              ))}
            </List>
          </Panel>
          <Candidates why={why} />
          <Otherwise customer={customer} why={why} />
        </>
      )}
    </Answered>
  );
}

function Candidates({ why }: { why: Why }) {
  const { customers: words } = useWords();
  const say = useFormats();
  const money = (value: number) => say.money(value, why.currency);
  return (
    <Panel title={words.candidates} note={words.candidatesNote}>
      <Rows
        caption={words.candidates}
        rows={why.candidates}
        keyOf={(row) => row.action}
        columns={[
          {
            head: words.action,
            cell: (row) => (
              <Group gap={6} wrap="nowrap">
                <Action of={row.action} />
                {row.action === why.action && <Badge size="sm">{words.chosen}</Badge>}
              </Group>
            ),
          },
          { head: words.chance, number: true, cell: (row) => say.share(row.propensity) },
          { head: words.value, number: true, cell: (row) => `${money(row.value)} ± ${money(row.sd)}` },
          { head: words.cost, number: true, cell: (row) => money(row.cost) },
          { head: words.score, number: true, cell: (row) => money(row.score) },
        ]}
      />
    </Panel>
  );
}

function Otherwise({ customer, why }: { customer: string; why: Why }) {
  const { customers: words, channels } = useWords();
  const { language } = useLanguage();
  const action = useAction();
  const say = useFormats();
  const [change, setChange] = useState<string | null>(null);
  const ask = useAct({
    act: (one: string) =>
      body(
        api.POST("/v1/customers/{customer}/what-if", {
          params: { path: { customer } },
          body: { changes: [one], plan: why.plan_id, locale: language === "zh" ? "zh-CN" : "en" },
        }),
      ),
    done: words.otherwiseDone,
    stale: [],
  });
  const used = new Set(why.candidates.flatMap((one) => one.action.split("|")[2] ?? []));
  const options = [
    ...[...used].map((channel) => ({ value: `without=${channel}`, label: words.without(channels[channel as keyof typeof channels]) })),
    { value: "price=2", label: words.dearer },
    { value: "price=0", label: words.free },
  ];
  return (
    <Panel title={words.otherwise} note={words.otherwiseNote}>
      <Stack>
        <Group align="flex-end">
          <Select label={words.if} data={options} value={change} onChange={setChange} placeholder={words.pick} w={280} />
          <Button variant="default" disabled={!change} loading={ask.isPending} onClick={() => change && ask.mutate(change)}>
            {words.show}
          </Button>
        </Group>
        <div aria-live="polite">
          {ask.data && (
            <Text size="sm">
              {words.wouldBe(action(ask.data.before), say.share(ask.data.before_chance), action(ask.data.now), say.share(ask.data.chance))}
            </Text>
          )}
        </div>
      </Stack>
    </Panel>
  );
}
