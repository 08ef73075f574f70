import { Button, Group, NumberInput, Select, Stack, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { api, body, Problem, type Schemas } from "../api/client";
import { Lines } from "../charts/kinds";
import { useSession } from "../shell/session";
import { useAct } from "../ui/acts";
import { Job } from "../ui/Job";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useSentence, useWords } from "../words";
import { useFormats } from "../words/format";

type Order = Schemas["OrderLine"];
type Forecast = Schemas["Forecast"];

export default function Demand() {
  const { pages, demand: words } = useWords();
  const session = useSession();
  const items = useQuery({ queryKey: ["demand", "items"], queryFn: () => body(api.GET("/v1/demand/items", { params: { query: { limit: 200 } } })) });
  const learn = useAct({ act: () => body(api.POST("/v1/demand/learn", { body: { horizon: 28, seed: 0 } })), done: words.queued, stale: [] });
  const none = items.error instanceof Problem && [404, 409].includes(items.error.status);
  const button = session.data?.scopes.includes("operate") && (
    <Button variant="default" loading={learn.isPending} onClick={() => learn.mutate(undefined)}>
      {words.learn}
    </Button>
  );
  return (
    <Page title={pages.demand} lead={words.lead} actions={button}>
      {learn.data && <Job id={learn.data.job_id} stale={[["demand"]]} />}
      {none ? (
        <Panel>
          <Empty title={words.none}>{items.error?.message}</Empty>
        </Panel>
      ) : (
        <Answered query={items}>
          {({ rows }) => (
            <>
              <Item names={[...new Set(rows.map((one) => one.item))]} />
              <Orders />
            </>
          )}
        </Answered>
      )}
    </Page>
  );
}

function Item({ names }: { names: string[] }) {
  const { demand: words } = useWords();
  const [item, setItem] = useState(names[0] ?? null);
  const query = useQuery({
    queryKey: ["demand", "item", item],
    enabled: item !== null,
    queryFn: () => body(api.GET("/v1/demand/items/{item}", { params: { path: { item: item ?? "" } } })),
  });
  return (
    <Panel title={words.forecast} note={words.forecastNote}>
      <Stack>
        <Select label={words.item} data={names} value={item} onChange={setItem} searchable allowDeselect={false} maw={300} />
        <Answered query={query}>{(all) => all.map((one) => <Bands key={one.store ?? ""} forecast={one} />)}</Answered>
      </Stack>
    </Panel>
  );
}

function Bands({ forecast }: { forecast: Forecast }) {
  const { demand: words } = useWords();
  const say = useFormats();
  const { bands } = forecast;
  const x = useMemo(() => bands.map((one) => say.day(one.day)), [bands, say]);
  const lines = useMemo(() => [{ name: words.expected, values: bands.map((one) => one.expected) }], [bands, words]);
  const band = useMemo(() => ({ name: words.band, low: bands.map((one) => one.q5), high: bands.map((one) => one.q95) }), [bands, words]);
  const pieces = useMemo(() => (value: number) => say.number(value, 1), [say]);
  return <Lines label={words.label(forecast.item, forecast.store ?? "")} x={x} lines={lines} band={band} say={pieces} />;
}

function Orders() {
  const { demand: words } = useWords();
  const say = useFormats();
  const sentence = useSentence();
  const [lead, setLead] = useState<number | string>(7);
  const [review, setReview] = useState<number | string>(7);
  const [asked] = useDebouncedValue({ lead: Number(lead) || 7, review: Number(review) || 7 }, 400);
  const query = usePages(["demand", "orders", asked], (after) => body(api.GET("/v1/demand/orders", { params: { query: { ...asked, after, limit: 25 } } })), keepPreviousData);
  return (
    <Panel title={words.orders} note={words.ordersNote}>
      <Group mb="sm">
        <NumberInput label={words.lead_} value={lead} onChange={setLead} min={1} max={366} w={180} />
        <NumberInput label={words.review} value={review} onChange={setReview} min={1} max={366} w={180} />
      </Group>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.enough} />
          ) : (
            <Rows<Order>
              caption={words.orders}
              rows={rows}
              keyOf={(row) => `${row.item}${row.store ?? ""}`}
              columns={[
                { head: words.item, cell: (row) => row.item },
                { head: words.order, number: true, cell: (row) => <b>{say.number(row.order)}</b> },
                { head: words.stock, number: true, cell: (row) => (row.stock === null ? words.unknown : say.number(row.stock)) },
                { head: words.expected, number: true, cell: (row) => say.number(row.expected, 1) },
                { head: words.money, number: true, cell: (row) => (row.money === null || !row.currency ? "–" : say.money(row.money, row.currency)) },
                {
                  head: words.why,
                  cell: (row) =>
                    row.reasons.map((one) => (
                      <Text key={one.code} size="xs" maw={420}>
                        {sentence(one)}
                      </Text>
                    )),
                },
              ]}
            />
          )
        }
      </Answered>
    </Panel>
  );
}
