import { Alert, Button, Checkbox, Group, List, NumberInput, SimpleGrid, Slider, Stack, Text, TextInput, Textarea } from "@mantine/core";
import { useState, type SubmitEvent } from "react";
import { useNavigate } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { useShop } from "../shell/session";
import { useAct } from "../ui/acts";
import { Page, Panel } from "../ui/Page";
import { useWords } from "../words";

type Spec = Schemas["Spec"];
type Faults = { where: string; what: string }[];
const CHANNELS = ["email", "sms", "push", "inapp"] as const;
const OFFERS = ["product", "coupon"] as const;

const dayFrom = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
const amountOf = (money: string | undefined) => Number((money ?? "").split(" ")[0]) || 0;

/** What a marketer writes: whom, what for, with what, how much, how long; everything that is wrong with it is told with its place. */
export function Brief({ spec }: { spec?: Spec }) {
  const { campaigns: words, channels, offerKinds, rails } = useWords();
  const { currency } = useShop();
  const go = useNavigate();
  const [name, setName] = useState(spec?.name ?? "");
  const [goal, setGoal] = useState(spec?.goal ?? "");
  const [audience, setAudience] = useState(spec?.audience ?? "");
  const [offers, setOffers] = useState<string[]>(spec?.offers ?? [...OFFERS]);
  const [ways, setWays] = useState<string[]>(waysOf(spec));
  const [budget, setBudget] = useState<number | string>(amountOf(spec?.budget) || 1000);
  const [holdout, setHoldout] = useState(Math.round((spec?.holdout ?? 0.1) * 100));
  const [from, setFrom] = useState(spec?.from ?? dayFrom(0));
  const [until, setUntil] = useState(spec?.until ?? dayFrom(28));
  const [loss, setLoss] = useState<number | string>(spec?.guard.max_loss ? amountOf(spec.guard.max_loss) : "");
  const [complaints, setComplaints] = useState<number | string>((spec?.guard.complaint_rate ?? 0.003) * 100);
  const [faults, setFaults] = useState<Faults>([]);

  const written = () => ({
    ...(spec ? kept(spec) : {}),
    name,
    goal,
    ...(audience.trim() ? { audience } : {}),
    offers,
    channels: ways,
    budget: `${budget} ${currency ?? ""}`.trim(),
    holdout: holdout / 100,
    from,
    until,
    guard: { complaint_rate: Number(complaints) / 100, ...(loss === "" ? {} : { max_loss: `${loss} ${currency ?? ""}`.trim() }) },
  });
  const keep = useAct({
    act: async () => {
      const campaign = written();
      const found = await body(api.POST("/v1/campaigns/check", { body: { campaign } }));
      setFaults(found.faults);
      if (found.faults.length > 0) return null;
      return body(api.POST("/v1/campaigns", { body: { campaign } }));
    },
    done: (version) => (version ? words.kept : null),
    stale: [["campaigns"], ["campaign", name]],
    after: (version) => {
      if (version) void go(`/campaigns/${version.campaign}`);
    },
  });
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    keep.mutate(undefined);
  };
  return (
    <Page title={spec ? words.change : words.write} lead={words.briefLead}>
      <form onSubmit={submit}>
        <Stack>
          {faults.length > 0 && (
            <Alert color="red" role="alert" title={words.faults}>
              <List size="sm">
                {faults.map((one) => (
                  <List.Item key={one.where + one.what}>
                    <b>{one.where}</b>: {one.what}
                  </List.Item>
                ))}
              </List>
            </Alert>
          )}
          <Panel title={words.whatFor}>
            <Stack>
              <TextInput label={words.name} description={words.nameNote} value={name} onChange={(e) => setName(e.currentTarget.value)} required disabled={!!spec} maw={360} />
              <TextInput label={words.goal} value={goal} onChange={(e) => setGoal(e.currentTarget.value)} required placeholder={words.goalHint} />
              <Textarea label={words.audience} description={words.audienceNote} value={audience} onChange={(e) => setAudience(e.currentTarget.value)} placeholder="frequency > 0 and recency_days > 20" autosize minRows={2} />
            </Stack>
          </Panel>
          <Panel title={words.withWhat}>
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <Checkbox.Group label={words.offers} value={offers} onChange={setOffers}>
                <Group mt="xs">
                  {[...new Set([...OFFERS, ...offers])].map((one) => (
                    <Checkbox key={one} value={one} label={(offerKinds as Record<string, string>)[one] ?? one} />
                  ))}
                </Group>
              </Checkbox.Group>
              <Checkbox.Group label={words.channels} value={ways} onChange={setWays}>
                <Group mt="xs">
                  {CHANNELS.map((one) => (
                    <Checkbox key={one} value={one} label={channels[one]} />
                  ))}
                </Group>
              </Checkbox.Group>
              <NumberInput label={`${words.budget} (${currency ?? ""})`} description={words.budgetNote} value={budget} onChange={setBudget} min={0} decimalScale={2} thousandSeparator="," required />
              <div>
                <Text component="label" size="sm" fw={500} id="holdout-label">
                  {words.holdout}: {holdout} %
                </Text>
                <Text size="xs" c="dimmed">
                  {words.holdoutWhy}
                </Text>
                <Slider value={holdout} onChange={setHoldout} min={0} max={50} thumbProps={{ "aria-labelledby": "holdout-label" }} label={(value) => `${value} %`} mt="xs" />
              </div>
            </SimpleGrid>
          </Panel>
          <Panel title={words.whenAndStop}>
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <TextInput type="date" label={words.from} value={from} onChange={(e) => setFrom(e.currentTarget.value)} required />
              <TextInput type="date" label={words.until} value={until} onChange={(e) => setUntil(e.currentTarget.value)} required />
              <NumberInput label={`${rails.max_loss} (${currency ?? ""})`} description={words.lossNote} value={loss} onChange={setLoss} min={0} decimalScale={2} />
              <NumberInput label={`${rails.complaint_rate} (%)`} description={words.complaintNote} value={complaints} onChange={setComplaints} min={0} max={100} step={0.1} decimalScale={2} />
            </SimpleGrid>
          </Panel>
          <Group justify="flex-end">
            <Button variant="default" onClick={() => void go(-1)}>
              {words.back}
            </Button>
            <Button type="submit" loading={keep.isPending}>
              {words.keep}
            </Button>
          </Group>
        </Stack>
      </form>
    </Page>
  );
}

function waysOf(spec: Spec | undefined): string[] {
  if (!spec?.channels) return ["email", "push"];
  return Array.isArray(spec.channels) ? spec.channels : Object.keys(spec.channels);
}

/** What the form does not show stays as it was written. */
function kept(spec: Spec): Partial<Spec> {
  const { limits, trigger, window_days, seed } = spec;
  return { window_days, seed, ...(trigger ? { trigger } : {}), ...(limits && Object.keys(limits).length > 0 ? { limits } : {}) };
}
