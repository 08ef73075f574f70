import { Anchor, Button, Group, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useState } from "react";
import { Link, Route, Routes, useNavigate } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { useAct } from "../ui/acts";
import { named } from "../ui/Action";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";
import { useShop } from "../shell/session";
import { Customer } from "./Customer";

type Line = Schemas["CustomerLine"];

export default function Customers() {
  return (
    <Routes>
      <Route index element={<List />} />
      <Route path=":customer" element={<Customer />} />
    </Routes>
  );
}

function List() {
  const { pages, customers: words, stages, segments } = useWords();
  const say = useFormats();
  const { currency } = useShop();
  const [typed, setTyped] = useState("");
  const [find, setFind] = useState("");
  const go = useNavigate();
  const query = usePages(["customers", find], (after) => body(api.GET("/v1/customers", { params: { query: { after, find: find || undefined, limit: 25 } } })));
  const address = useAct({
    act: () => body(api.POST("/v1/customers/find", { body: { address: typed } })),
    done: words.looked,
    stale: [],
    after: ({ customers }) => {
      if (customers[0]) void go(encodeURIComponent(customers[0]));
      else setFind(typed);
    },
  });
  const search = () => (typed.includes("@") || typed.startsWith("+") ? address.mutate(undefined) : setFind(typed));
  return (
    <Page title={pages.customers} lead={words.lead}>
      <Panel>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            search();
          }}
        >
          <Group mb="md" align="flex-end">
            <TextInput label={words.find} description={words.findNote} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} style={{ flexGrow: 1, maxWidth: 420 }} />
            <Button type="submit" variant="default" leftSection={<IconSearch size={16} aria-hidden />} loading={address.isPending}>
              {words.search}
            </Button>
          </Group>
        </form>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows<Line>
                caption={pages.customers}
                rows={rows}
                keyOf={(row) => row.customer}
                columns={[
                  { head: words.customer, cell: (row) => <Anchor component={Link} to={encodeURIComponent(row.customer)}>{row.customer}</Anchor> },
                  { head: words.segment, cell: (row) => named(segments, row.segment) },
                  { head: words.stage, cell: (row) => named(stages, row.stage) },
                  { head: words.orders, number: true, cell: (row) => say.number(row.frequency) },
                  { head: words.spent, number: true, cell: (row) => (currency ? say.money(row.monetary, currency) : say.number(row.monetary)) },
                  { head: words.churn, number: true, cell: (row) => (row.churn === null ? "–" : say.share(row.churn, 0)) },
                  { head: words.seen, cell: (row) => (row.last_at ? say.day(row.last_at) : "–") },
                  { head: words.likes, cell: (row) => <Text size="sm">{row.top_category?.split(" > ").at(-1) ?? "–"}</Text> },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
    </Page>
  );
}
