import { Alert, Button, Card, Center, Group, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useState, type SubmitEvent } from "react";

import { useWords } from "../words";
import { LanguagePick, SchemePick } from "./Picks";
import { Mark } from "./Mark";
import { useLogIn } from "./session";

export function Login() {
  const words = useWords();
  const logIn = useLogIn();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  useDocumentTitle(`${words.login.title} - Tradewind`);

  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    logIn.mutate({ name, password });
  };

  return (
    <Center component="main" mih="100dvh" p="md">
      <Stack w="100%" maw={380}>
        <Card withBorder radius="lg" padding="xl" shadow="sm">
          <form onSubmit={submit}>
            <Stack>
              <Group gap="sm">
                <Mark size={36} />
                <Title order={1} fz={24}>
                  Tradewind
                </Title>
              </Group>
              <Text c="dimmed" size="sm">
                {words.login.lead}
              </Text>
              <TextInput label={words.login.name} value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="username" required autoFocus />
              <PasswordInput
                label={words.login.password}
                value={password}
                onChange={(e) => setPassword(e.currentTarget.value)}
                autoComplete="current-password"
                visibilityToggleButtonProps={{ "aria-label": words.login.show }}
                required
              />
              {logIn.error && (
                <Alert color="red" role="alert">
                  {logIn.error.message}
                </Alert>
              )}
              <Button type="submit" loading={logIn.isPending} fullWidth>
                {words.login.enter}
              </Button>
              <Text size="xs" c="dimmed">
                {words.login.none} <code>tradewind people add</code>
              </Text>
            </Stack>
          </form>
        </Card>
        <Group justify="center" gap="xs">
          <LanguagePick />
          <SchemePick />
        </Group>
      </Stack>
    </Center>
  );
}
