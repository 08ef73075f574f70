import { Alert, Badge, Button, Checkbox, Group, List, NumberInput, SimpleGrid, Slider, Stack, Text, TextInput, Textarea } from "@mantine/core";
import { useState, type SubmitEvent } from "react";
import { useNavigate } from "react-router";

import { api, body, type Schemas } from "../api/client";
import { useShop } from "../shell/session";
import { useAct } from "../ui/acts";
import { Page, Panel } from "../ui/Page";
import { Rows } from "../ui/Rows";
import { useWords } from "../words";

type Spec = Schemas["Spec"];
type Faults = { where: string; what: string }[];
const CHANNELS = ["email", "sms", "push", "inapp"] as const;
const OFFERS = ["product", "coupon"] as const;

const dayFrom = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
const amountOf = (money: string | undefined) => Number((money ?? "").split(" ")[0]) || 0;

/** What a marketer writes, in their own words where a language model is configured, or in the form. */
export function Brief({ spec }: { spec?: Spec }) {
  const { campaigns: words } = useWords();
  const [text, setText] = useState("");
  const read = useAct({ act: () => body(api.POST("/v1/brief", { body: { text } })), done: words.readDone, stale: [] });
  const compiled = read.data;
  return (
    <Page title={spec ? words.change : words.write} lead={words.briefLead}>
      {!spec && (
        <Panel title={words.own} note={words.ownNote}>
          <Stack gap="sm">
            <Textarea aria-label={words.own} value={text} onChange={(e) => setText(e.currentTarget.value)} placeholder={words.ownHint} autosize minRows={3} maxLength={8000} />
            <Group>
              <Button variant="default" disabled={!text.trim()} loading={read.isPending} onClick={() => read.mutate(undefined)}>
                {words.read}
              </Button>
            </Group>
            {read.error && <Alert color="orange">{read.error.message}</Alert>}
          </Stack>
        </Panel>
      )}
      {compiled && <Compiled brief={compiled} />}
      <Form key={compiled ? compiled.toml : "form"} spec={compiled ? compiled.campaign : spec} fixed={!!spec} />
    </Page>
  );
}

/** Where each value of the draft comes from, and what a person must look at. */
function Compiled({ brief }: { brief: Schemas["CompiledBrief"] }) {
  const { campaigns: words } = useWords();
  return (
    <Panel title={words.understood} note={words.understoodNote(brief.model)}>
      <Stack gap="sm">
        {brief.red_lines.map((one) => (
          <Alert key={one.text} color={one.key ? "sea" : "red"} p="xs">
            {one.text}: {one.key ?? words.seeToIt}
          </Alert>
        ))}
        <Rows
          caption={words.understood}
          rows={brief.stated}
          keyOf={(row) => row.key}
          columns={[
            { head: words.what, cell: (row) => row.key },
            { head: words.says, cell: (row) => JSON.stringify(row.value) },
            { head: words.sourceOf, cell: (row) => <Badge color={SOURCES[row.source]}>{words.sources[row.source]}</Badge> },
            { head: words.why, cell: (row) => (row.quote ? `“${row.quote}”` : row.why) },
          ]}
        />
        {brief.faults.map((one) => (
          <Text key={one.where + one.what} size="sm" c="red">
            {one.where}: {one.what}
          </Text>
        ))}
        {brief.unused.length > 0 && <Text size="sm">{words.unused(brief.unused.join(", "))}</Text>}
      </Stack>
    </Panel>
  );
}

const SOURCES = { said: "sea", assumed: "yellow", refused: "red" };

/** The typed campaign; everything that is wrong with it is told with its place. */
function Form({ spec, fixed }: { spec?: Partial<Spec>; fixed: boolean }) {
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
  const [loss, setLoss] = useState<number | string>(spec?.guard?.max_loss ? amountOf(spec.guard.max_loss) : "");
  const [complaints, setComplaints] = useState<number | string>((spec?.guard?.complaint_rate ?? 0.003) * 100);
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
              <TextInput label={words.name} description={words.nameNote} value={name} onChange={(e) => setName(e.currentTarget.value)} required disabled={fixed} maw={360} />
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
  );
}

function waysOf(spec: Partial<Spec> | undefined): string[] {
  if (!spec?.channels) return ["email", "push"];
  return Array.isArray(spec.channels) ? spec.channels : Object.keys(spec.channels);
}

/** What the form does not show stays as it was written. */
function kept(spec: Partial<Spec>): Partial<Spec> {
  const { limits, trigger, window_days, seed } = spec;
  return { window_days, seed, ...(trigger ? { trigger } : {}), ...(limits && Object.keys(limits).length > 0 ? { limits } : {}) };
}
