import { Anchor, Badge, Grid, List, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { Intervals } from "../charts/kinds";
import { Whisker } from "../charts/Whisker";
import { Facts, Ranged, useBetween } from "../ui/Figure";
import { Page, Panel } from "../ui/Page";
import { Answered, Empty } from "../ui/Stated";
import { useSentence, useWords } from "../words";
import { useFormats } from "../words/format";

export type Outcome = Schemas["Earned"];

export default function Earned() {
  const words = useWords();
  const query = useQuery({ queryKey: ["earned"], queryFn: () => body(api.GET("/v1/earned", { params: { query: { limit: 8 } } })) });
  return (
    <Page title={words.pages.earned} lead={words.earned.lead}>
      <Answered query={query} rows={5}>
        {({ rows }) => {
          const newest = rows[0];
          if (!newest) return <Panel><Empty title={words.earned.none}>{words.earned.noneWhat}</Empty></Panel>;
          return (
            <>
              <Verdict outcome={newest} linked />
              <PlanByPlan outcomes={rows} />
            </>
          );
        }}
      </Answered>
    </Page>
  );
}

const COLOURS: Record<string, string> = { earned: "sea", lost: "red", unsure: "orange", no_holdout: "gray", nothing: "gray", broken: "red" };

/** What one plan earned: the verdict, the figure on its line, what to do next, where the money went. */
export function Verdict({ outcome, linked }: { outcome: Outcome; linked?: boolean }) {
  const words = useWords().earned;
  const sentence = useSentence();
  const between = useBetween();
  const say = useFormats();
  const { profit, currency, verdict } = outcome;
  const named: Record<string, string | undefined> = words.verdicts;
  return (
    <Panel
      title={outcome.campaign ?? words.newest}
      note={words.window(say.day(outcome.as_of), say.day(outcome.until), outcome.final)}
      aside={verdict && <Badge size="lg" color={COLOURS[verdict.code] ?? "gray"} c={verdict.code === "unsure" ? "var(--warn-ink)" : undefined}>{named[verdict.code] ?? verdict.code}</Badge>}
    >
      <Stack gap="lg">
        {outcome.problem && <Text>{outcome.problem}</Text>}
        <Grid gap="xl">
          {profit && profit.value !== null && (
            <Grid.Col span={{ base: 12, md: 6 }}>
              <Text size="sm" c="dimmed">
                {words.profit}
              </Text>
              <Text fz={44} fw={680} lh={1.15} className="number">
                {say.value(profit.value, profit.unit, currency)}
              </Text>
              <Text c="dimmed" mb="xs">
                {between(profit, currency)}
              </Text>
              {profit.low !== null && profit.high !== null && (
                <Whisker value={profit.value} low={profit.low} high={profit.high} label={between(profit, currency)} say={(x) => say.money(x, currency, true)} />
              )}
            </Grid.Col>
          )}
          <Grid.Col span={{ base: 12, md: profit ? 6 : 12 }}>
            {verdict && (
              <Text size="sm" mb="sm">
                {sentence(verdict)}
              </Text>
            )}
            <Next steps={outcome.next} />
          </Grid.Col>
        </Grid>
        <Facts
          facts={[
            { name: words.revenue, value: <Ranged of={outcome.revenue} currency={currency} stacked /> },
            { name: words.margin, value: <Ranged of={outcome.margin} currency={currency} stacked /> },
            { name: words.discounts, value: <Ranged of={outcome.discounts} currency={currency} stacked /> },
            { name: words.contacts, value: <Ranged of={outcome.contact_cost} currency={currency} stacked /> },
            { name: words.roi, value: <Ranged of={outcome.roi} currency={currency} stacked /> },
          ]}
        />
        {linked && (
          <Anchor component={Link} to={`/plans/${outcome.plan_id}`}>
            {words.open}
          </Anchor>
        )}
      </Stack>
    </Panel>
  );
}

function Next({ steps }: { steps: Outcome["next"] }) {
  const words = useWords().earned;
  const sentence = useSentence();
  if (steps.length === 0) return null;
  return (
    <>
      <Text fw={620} size="sm" mb={4}>
        {words.next}
      </Text>
      <List spacing={4} size="sm">
        {steps.map((step) => (
          <List.Item key={step.code}>{sentence(step)}</List.Item>
        ))}
      </List>
    </>
  );
}

function PlanByPlan({ outcomes }: { outcomes: readonly Outcome[] }) {
  const words = useWords().earned;
  const say = useFormats();
  const currency = outcomes[0]?.currency ?? "";
  const rows = useMemo(
    () =>
      outcomes.flatMap(({ profit, as_of, campaign, currency: its }) =>
        profit && its === currency && profit.value !== null && profit.low !== null && profit.high !== null
          ? [{ name: campaign ? `${campaign}, ${say.day(as_of)}` : say.day(as_of), value: profit.value, low: profit.low, high: profit.high }]
          : [],
      ),
    [outcomes, currency, say],
  );
  const amount = useMemo(() => (value: number) => say.money(value, currency, true), [say, currency]);
  if (rows.length < 2) return null;
  return (
    <Panel title={words.byPlan} note={words.byPlanNote}>
      <Intervals label={words.byPlan} rows={rows} say={amount} />
    </Panel>
  );
}
