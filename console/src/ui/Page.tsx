import { Card, Group, Stack, Text, Title, type CardProps } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import type { ReactNode } from "react";

/** A page: its name, one sentence on what it is for, what can be done here, and its panels. */
export function Page({ title, lead, actions, children }: { title: string; lead?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useDocumentTitle(`${title} - Tradewind`);
  return (
    <Stack gap="lg">
      <Group justify="space-between" align="flex-end" gap="sm">
        <div>
          <Title order={1} fz={26}>
            {title}
          </Title>
          {lead && (
            <Text c="dimmed" size="sm" maw={680}>
              {lead}
            </Text>
          )}
        </div>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

type PanelProps = CardProps & { title?: string; note?: ReactNode; aside?: ReactNode; children: ReactNode };

/** A part of a page, with a heading that a screen reader can jump to. */
export function Panel({ title, note, aside, children, ...rest }: PanelProps) {
  return (
    <Card component="section" withBorder padding="lg" radius="lg" {...rest}>
      {(title || aside) && (
        <Group justify="space-between" align="flex-start" mb="sm" wrap="nowrap">
          <div>
            {title && (
              <Title order={2} fz={16}>
                {title}
              </Title>
            )}
            {note && (
              <Text size="sm" c="dimmed">
                {note}
              </Text>
            )}
          </div>
          {aside && <div style={{ flexShrink: 0 }}>{aside}</div>}
        </Group>
      )}
      {children}
    </Card>
  );
}
