import { Badge, Button, Code, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, body, type Schemas } from "../api/client";
import { useSession } from "../shell/session";
import { useAct } from "../ui/acts";
import { Ask } from "../ui/Ask";
import { Job } from "../ui/Job";
import { Page, Panel } from "../ui/Page";
import { usePages } from "../ui/pages";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Model = Schemas["Model"];
type Policy = Schemas["PolicyVersion"];

function useMay(): boolean {
  return useSession().data?.scopes.includes("operate") ?? false;
}

export default function Models() {
  const { pages, models: words } = useWords();
  const may = useMay();
  const learn = useAct({ act: () => body(api.POST("/v1/models/learn", { body: { recommend: "fallback", evaluate: false, seed: 0 } })), done: words.queued, stale: [] });
  const button = may && (
    <Button loading={learn.isPending} onClick={() => learn.mutate(undefined)}>
      {words.learn}
    </Button>
  );
  return (
    <Page title={pages.models} lead={words.lead} actions={button}>
      {learn.data && <Job id={learn.data.job_id} stale={[["models"], ["policies"]]} />}
      <Versions />
      <Policies />
      <Gates />
    </Page>
  );
}

function Versions() {
  const { models: words } = useWords();
  const say = useFormats();
  const may = useMay();
  const query = usePages(["models"], (after) => body(api.GET("/v1/models", { params: { query: { after, limit: 30 } } })));
  const [asked, setAsked] = useState<Model | null>(null);
  const activate = useAct({
    act: (one: Model) => api.POST("/v1/models/{name}/{version}/activate", { params: { path: { name: one.name, version: one.version } } }),
    done: words.activated,
    stale: [["models"], ["policies"]],
    after: () => setAsked(null),
  });
  return (
    <Panel title={words.versions} note={words.versionsNote}>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.none}>{words.noneWhat}</Empty>
          ) : (
            <Rows<Model>
              caption={words.versions}
              rows={rows}
              keyOf={(row) => `${row.name}${row.version}`}
              columns={[
                { head: words.name, cell: (row) => row.name },
                { head: words.version, cell: (row) => <Code>{row.version.slice(0, 12)}</Code> },
                { head: words.asOf, cell: (row) => say.time(row.as_of) },
                { head: words.state, cell: (row) => (row.active ? <Badge>{words.inUse}</Badge> : !row.there ? <Text size="xs">{words.gone}</Text> : "") },
                {
                  head: words.act,
                  cell: (row) =>
                    may &&
                    !row.active &&
                    row.there && (
                      <Button size="compact-xs" variant="subtle" onClick={() => setAsked(row)}>
                        {words.activate}
                      </Button>
                    ),
                },
              ]}
            />
          )
        }
      </Answered>
      <Ask open={asked !== null} title={words.activate} act={words.activate} busy={activate.isPending} onAct={() => asked && activate.mutate(asked)} onClose={() => setAsked(null)}>
        <Text size="sm">{words.activateAsk(asked?.name ?? "", asked?.version.slice(0, 12) ?? "")}</Text>
      </Ask>
    </Panel>
  );
}

function Policies() {
  const { models: words } = useWords();
  const say = useFormats();
  const may = useMay();
  const query = usePages(["policies"], (after) => body(api.GET("/v1/policies", { params: { query: { after, limit: 20 } } })));
  const [asked, setAsked] = useState<Policy | null>(null);
  const back = useAct({
    act: (one: Policy) => api.POST("/v1/policies/{version}/rollback", { params: { path: { version: one.version } } }),
    done: words.activated,
    stale: [["models"], ["policies"]],
    after: () => setAsked(null),
  });
  return (
    <Panel title={words.policies} note={words.policiesNote}>
      <Answered query={query}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title={words.noPolicy} />
          ) : (
            <Rows<Policy>
              caption={words.policies}
              rows={rows}
              keyOf={(row) => row.version}
              columns={[
                { head: words.version, cell: (row) => <Code>{row.version.slice(0, 12)}</Code> },
                { head: words.made, cell: (row) => say.time(row.created_at) },
                { head: words.uses, cell: (row) => <Text size="xs">{Object.entries(row.models).filter(([, one]) => one).map(([name, one]) => `${name} ${one?.slice(0, 8) ?? ""}`).join(", ")}</Text> },
                { head: words.state, cell: (row) => (row.active ? <Badge>{words.inUse}</Badge> : "") },
                {
                  head: words.act,
                  cell: (row) =>
                    may &&
                    !row.active && (
                      <Button size="compact-xs" variant="subtle" onClick={() => setAsked(row)}>
                        {words.back}
                      </Button>
                    ),
                },
              ]}
            />
          )
        }
      </Answered>
      <Ask open={asked !== null} title={words.back} act={words.back} busy={back.isPending} onAct={() => asked && back.mutate(asked)} onClose={() => setAsked(null)}>
        <Text size="sm">{words.backAsk(asked?.version.slice(0, 12) ?? "")}</Text>
      </Ask>
    </Panel>
  );
}

function Gates() {
  const { models: words } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["models", "gates"], queryFn: () => body(api.GET("/v1/models/gates")) });
  return (
    <Panel title={words.gates} note={words.gatesNote}>
      <Answered query={query}>
        {(told) =>
          told.due.length === 0 ? (
            <Text size="sm">{words.noneDue}</Text>
          ) : (
            <Rows
              caption={words.gates}
              rows={told.due}
              keyOf={(row) => `${row.name}${row.version}`}
              columns={[
                { head: words.name, cell: (row) => row.name },
                { head: words.version, cell: (row) => <Code>{row.version.slice(0, 12)}</Code> },
                { head: words.forget, number: true, cell: (row) => say.number(row.erased) },
                { head: words.until, cell: (row) => say.day(row.deadline) },
              ]}
            />
          )
        }
      </Answered>
    </Panel>
  );
}
