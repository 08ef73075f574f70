import { Alert, Badge, Button, Code, CopyButton, Group, PasswordInput, Select, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, body, type Schemas } from "../api/client";
import { useAct } from "../ui/acts";
import { Ask } from "../ui/Ask";
import { Page, Panel } from "../ui/Page";
import { Rows } from "../ui/Rows";
import { Answered, Empty } from "../ui/Stated";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Key = Schemas["Key"];
type Person = Schemas["Person"];
type Role = Key["role"];
const PEOPLE: Role[] = ["viewer", "marketer", "operator", "privacy", "admin"];
const PROGRAMS: Role[] = ["site", "backend", "monitor", "viewer", "marketer", "operator", "privacy", "admin"];

export default function Settings() {
  const words = useWords();
  return (
    <Page title={words.pages.settings} lead={words.settings.lead}>
      <People />
      <Keys />
    </Page>
  );
}

function useRoles(roles: Role[]) {
  const words = useWords();
  return roles.map((role) => ({ value: role, label: words.roles[role] }));
}

function People() {
  const words = useWords().settings;
  const { roles } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["people"], queryFn: () => body(api.GET("/v1/people")) });
  const [adding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<string | null>(null);
  const disable = useAct({
    act: (name: string) => api.DELETE("/v1/people/{name}", { params: { path: { name } } }),
    done: words.personDisabled,
    stale: [["people"]],
    after: () => setLeaving(null),
  });
  return (
    <Panel title={words.people} note={words.peopleNote} aside={<Button onClick={() => setAdding(true)}>{words.addPerson}</Button>}>
      <Answered query={query}>
        {(people) => (
          <Rows<Person>
            caption={words.people}
            rows={people}
            keyOf={(row) => row.name}
            columns={[
              { head: words.name, cell: (row) => row.name },
              { head: words.role, cell: (row) => roles[row.role] },
              { head: words.since, cell: (row) => say.day(row.created_at) },
              { head: words.state, cell: (row) => <State on={!row.disabled_at} off={words.disabled} /> },
              {
                head: words.act,
                cell: (row) =>
                  !row.disabled_at && (
                    <Button size="compact-xs" variant="subtle" color="red" onClick={() => setLeaving(row.name)}>
                      {words.disable}
                    </Button>
                  ),
              },
            ]}
          />
        )}
      </Answered>
      {adding && <NewPerson onClose={() => setAdding(false)} />}
      <Ask
        open={leaving !== null}
        title={words.disable}
        act={words.disable}
        danger
        busy={disable.isPending}
        onAct={() => leaving && disable.mutate(leaving)}
        onClose={() => setLeaving(null)}
      >
        <Text size="sm">{words.disableAsk(leaving ?? "")}</Text>
      </Ask>
    </Panel>
  );
}

function NewPerson({ onClose }: { onClose: () => void }) {
  const words = useWords().settings;
  const roles = useRoles(PEOPLE);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("marketer");
  const save = useAct({
    act: () => api.PUT("/v1/people/{name}", { params: { path: { name } }, body: { password, role } }),
    done: words.personSaved,
    stale: [["people"]],
    after: onClose,
  });
  return (
    <Ask open title={words.addPerson} act={words.save} busy={save.isPending} disabled={!name || password.length < 12} onAct={() => save.mutate(undefined)} onClose={onClose}>
      <Stack>
        <TextInput label={words.name} value={name} onChange={(e) => setName(e.currentTarget.value)} required data-autofocus />
        <PasswordInput label={words.password} value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" required />
        <Select label={words.role} data={roles} value={role} onChange={(value) => value && setRole(value)} allowDeselect={false} />
      </Stack>
    </Ask>
  );
}

function Keys() {
  const words = useWords().settings;
  const { roles } = useWords();
  const say = useFormats();
  const query = useQuery({ queryKey: ["keys"], queryFn: () => body(api.GET("/v1/keys")) });
  const [adding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<Key | null>(null);
  const revoke = useAct({
    act: (key: Key) => api.DELETE("/v1/keys/{key_id}", { params: { path: { key_id: key.key_id } } }),
    done: words.keyRevoked,
    stale: [["keys"]],
    after: () => setLeaving(null),
  });
  return (
    <Panel title={words.keys} note={words.keysNote} aside={<Button onClick={() => setAdding(true)}>{words.addKey}</Button>}>
      <Answered query={query}>
        {(keys) =>
          keys.length === 0 ? (
            <Empty title={words.noKeys}>{words.noKeysWhat}</Empty>
          ) : (
            <Rows<Key>
              caption={words.keys}
              rows={keys}
              keyOf={(row) => row.key_id}
              columns={[
                { head: words.name, cell: (row) => row.name },
                { head: "ID", cell: (row) => <Code>{row.key_id}</Code> },
                { head: words.role, cell: (row) => roles[row.role] },
                { head: words.since, cell: (row) => say.day(row.created_at) },
                { head: words.expires, cell: (row) => (row.expires_at ? say.day(row.expires_at) : "") },
                { head: words.state, cell: (row) => <State on={!row.revoked_at} off={words.revoked} /> },
                {
                  head: words.act,
                  cell: (row) =>
                    !row.revoked_at && (
                      <Button size="compact-xs" variant="subtle" color="red" onClick={() => setLeaving(row)}>
                        {words.revoke}
                      </Button>
                    ),
                },
              ]}
            />
          )
        }
      </Answered>
      {adding && <NewKey onClose={() => setAdding(false)} />}
      <Ask
        open={leaving !== null}
        title={words.revoke}
        act={words.revoke}
        danger
        busy={revoke.isPending}
        onAct={() => leaving && revoke.mutate(leaving)}
        onClose={() => setLeaving(null)}
      >
        <Text size="sm">{words.revokeAsk(leaving?.name ?? "")}</Text>
      </Ask>
    </Panel>
  );
}

function NewKey({ onClose }: { onClose: () => void }) {
  const words = useWords().settings;
  const { close } = useWords();
  const roles = useRoles(PROGRAMS);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("site");
  const [made, setMade] = useState("");
  const make = useAct({
    act: () => body(api.POST("/v1/keys", { body: { name, role } })),
    done: words.made,
    stale: [["keys"]],
    after: ({ key }) => setMade(key),
  });
  if (made) {
    return (
      <Ask open title={words.made} act={close} onAct={onClose} onClose={onClose}>
        <Alert color="orange">{words.madeWhy}</Alert>
        <Group wrap="nowrap">
          <Code style={{ overflowWrap: "anywhere" }}>{made}</Code>
          <CopyButton value={made}>{({ copied, copy }) => <Button onClick={copy}>{copied ? words.copied : words.copy}</Button>}</CopyButton>
        </Group>
      </Ask>
    );
  }
  return (
    <Ask open title={words.addKey} act={words.addKey} busy={make.isPending} disabled={!name} onAct={() => make.mutate(undefined)} onClose={onClose}>
      <TextInput label={words.name} value={name} onChange={(e) => setName(e.currentTarget.value)} required data-autofocus />
      <Select label={words.role} data={roles} value={role} onChange={(value) => value && setRole(value)} allowDeselect={false} />
    </Ask>
  );
}

function State({ on, off }: { on: boolean; off: string }) {
  const words = useWords().settings;
  return (
    <Badge color={on ? "sea" : "gray"}>
      {on ? words.active : off}
    </Badge>
  );
}
