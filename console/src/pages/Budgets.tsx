import { Anchor, Progress, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, Route, Routes, useParams } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { Lines } from "../charts/kinds";
import { Facts } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Line = Schemas["BudgetLine"];
type BurnDown = Schemas["BurnDown"];

export default function Budgets() {
  return (
    <Routes>
      <Route index element={<All />} />
      <Route path=":budget" element={<One />} />
    </Routes>
  );
}

const shortly = (budget: string) => (budget.startsWith("campaign:") ? budget.slice(9) : budget.slice(0, 12));

function All() {
  const { pages, budgets: words } = useWords();
  const say = useFormats();
  const query = usePages(["budgets"], (after) => body(api.GET("/v1/budgets", { params: { query: { after } } })));
  return (
    <Page title={pages.budgets} lead={words.lead}>
      <Panel>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows<Line>
                caption={pages.budgets}
                rows={rows}
                keyOf={(row) => row.budget}
                columns={[
                  { head: words.budget, cell: (row) => <Anchor component={Link} to={encodeURIComponent(row.budget)}>{shortly(row.budget)}</Anchor> },
                  { head: words.used, width: 220, cell: (row) => <Used of={row} /> },
                  { head: words.amount, number: true, cell: (row) => say.money(row.amount, row.currency) },
                  { head: words.spent, number: true, cell: (row) => say.money(row.spent, row.currency) },
                  { head: words.reserved, number: true, cell: (row) => say.money(row.reserved, row.currency) },
                  { head: words.left, number: true, cell: (row) => say.money(row.left, row.currency) },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
    </Page>
  );
}

function Used({ of }: { of: Line }) {
  const { budgets: words } = useWords();
  const share = (value: number) => (of.amount > 0 ? (100 * value) / of.amount : 0);
  return (
    <Progress.Root size={12} miw={120}>
      <Progress.Section value={share(of.spent)} color="sea" aria-label={words.spent} />
      <Progress.Section value={share(of.reserved)} color="sea.4" aria-label={words.reserved} />
    </Progress.Root>
  );
}

function One() {
  const { budget = "" } = useParams();
  const { budgets: words } = useWords();
  const query = useQuery({ queryKey: ["budget", budget], queryFn: () => body(api.GET("/v1/budgets/{budget}", { params: { path: { budget } } })) });
  return (
    <Page title={`${words.budget} ${shortly(budget)}`} lead={words.oneLead}>
      <Answered query={query}>{(told) => <Burn told={told} />}</Answered>
    </Page>
  );
}

function Burn({ told }: { told: BurnDown }) {
  const { budgets: words } = useWords();
  const say = useFormats();
  const { currency } = told;
  const money = (value: number) => say.money(value, currency);
  const whole = useMemo(() => (value: number) => say.money(value, currency, true), [say, currency]);
  const x = useMemo(() => [words.before, ...told.days.map((one) => say.day(one.day))], [told, say, words]);
  const lines = useMemo(() => {
    const spent = told.days.map((_, day) => told.amount - told.days.slice(0, day + 1).reduce((sum, one) => sum + one.spent, 0));
    return [
      { name: words.leftAfter, values: [told.amount, ...told.days.map((one) => one.left)] },
      ...(told.reserved > 0 ? [{ name: words.unspent, values: [told.amount, ...spent], dashed: true, second: true }] : []),
    ];
  }, [told, words]);
  return (
    <Panel>
      <Stack gap="lg">
        <Facts
          facts={[
            { name: words.amount, value: money(told.amount) },
            { name: words.spent, value: money(told.spent), note: words.decisions(say.number(told.paid.count)) },
            { name: words.reserved, value: money(told.reserved), note: words.decisions(say.number(told.held.count)) },
            { name: words.released, value: money(told.released.amount), note: words.decisions(say.number(told.released.count)) },
            { name: words.left, value: money(told.left) },
          ]}
        />
        <Used of={told} />
        {told.days.length > 0 && <Lines label={words.burn} x={x} lines={lines} say={whole} />}
      </Stack>
    </Panel>
  );
}
