import { NumberInput, SimpleGrid, Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, body } from "../api/client";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Report } from "../ui/Report";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

export default function Experiments() {
  const { pages, experiments: words } = useWords();
  const say = useFormats();
  const query = usePages(["experiments"], (after) => body(api.GET("/v1/experiments", { params: { query: { after } } })));
  return (
    <Page title={pages.experiments} lead={words.lead}>
      <Panel title={words.running}>
        <Answered query={query}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty title={words.none}>{words.noneWhat}</Empty>
            ) : (
              <Rows
                caption={words.running}
                rows={rows}
                keyOf={(row) => row.name}
                columns={[
                  { head: words.name, cell: (row) => row.name },
                  { head: words.arms, cell: (row) => Object.entries(row.shares).map(([arm, share]) => `${arm} ${say.share(share, 0)}`).join(", ") },
                ]}
              />
            )
          }
        </Answered>
      </Panel>
      <Power />
      <Lasting />
    </Page>
  );
}

function Power() {
  const { experiments: words } = useWords();
  const [days, setDays] = useState<number | string>(14);
  const [holdout, setHoldout] = useState<number | string>(20);
  const [asked] = useDebouncedValue({ window_days: Number(days) || 14, holdout: (Number(holdout) || 10) / 100 }, 400);
  const query = useQuery({
    queryKey: ["power", asked],
    queryFn: () => body(api.GET("/v1/experiments/power", { params: { query: asked } })),
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <Panel title={words.power} note={words.powerNote}>
        <SimpleGrid cols={{ base: 1, sm: 2 }} maw={520}>
          <NumberInput label={words.days} value={days} onChange={setDays} min={1} max={366} />
          <NumberInput label={words.holdout} value={holdout} onChange={setHoldout} min={1} max={90} suffix=" %" />
        </SimpleGrid>
      </Panel>
      <Answered query={query}>{(told) => <Report told={told} />}</Answered>
    </>
  );
}

/** Evidence beside a plan's report: what lasted, and what other ways of deciding would have earned. */
function Lasting() {
  const { experiments: words } = useWords();
  const say = useFormats();
  const plans = useQuery({ queryKey: ["plans", "few"], queryFn: () => body(api.GET("/v1/plans", { params: { query: { limit: 50 } } })) });
  const [plan, setPlan] = useState<string | null>(null);
  const path = { plan_id: plan ?? "" };
  const longer = useQuery({ queryKey: ["longer", plan], enabled: !!plan, queryFn: () => body(api.GET("/v1/plans/{plan_id}/longer", { params: { path } })) });
  const other = useQuery({ queryKey: ["offpolicy", plan], enabled: !!plan, queryFn: () => body(api.GET("/v1/plans/{plan_id}/offpolicy", { params: { path } })) });
  return (
    <>
      <Panel title={words.evidence} note={words.evidenceNote}>
        <Select
          label={words.plan}
          placeholder={words.pick}
          data={(plans.data?.rows ?? []).map((row) => ({ value: row.plan_id, label: `${row.campaign ?? words.plan}, ${say.day(row.as_of)}` }))}
          value={plan}
          onChange={setPlan}
          maw={360}
        />
      </Panel>
      {plan && <Answered query={longer}>{(told) => <Report told={told} />}</Answered>}
      {plan && <Answered query={other}>{(told) => <Report told={told} />}</Answered>}
    </>
  );
}
