import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";

import { useWords } from "../words";

type AskProps = { open: boolean; title: string; children: ReactNode; act: string; danger?: boolean; busy?: boolean; disabled?: boolean; onAct: () => void; onClose: () => void };

/** Asks before something that cannot be taken back, or that has a price. */
export function Ask({ open, title, children, act, danger, busy, disabled, onAct, onClose }: AskProps) {
  const words = useWords();
  return (
    <Modal opened={open} onClose={onClose} title={<Text fw={650}>{title}</Text>} centered closeButtonProps={{ "aria-label": words.close }}>
      <Stack>
        {children}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            {words.cancel}
          </Button>
          <Button color={danger ? "red" : undefined} loading={busy} disabled={disabled} onClick={onAct}>
            {act}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
