import { ActionIcon, Button, useMantineColorScheme, type MantineColorScheme } from "@mantine/core";
import { IconDeviceDesktop, IconLanguage, IconMoon, IconSun } from "@tabler/icons-react";

import { useLanguage, useWords } from "../words";

/** Switches to the other language; its label is written in that language. */
export function LanguagePick() {
  const { language, setLanguage } = useLanguage();
  const other = language === "en" ? "zh" : "en";
  return (
    <Button
      variant="subtle"
      color="gray"
      size="compact-sm"
      lang={other === "zh" ? "zh-CN" : "en"}
      leftSection={<IconLanguage size={16} aria-hidden />}
      onClick={() => setLanguage(other)}
    >
      {other === "zh" ? "中文" : "English"}
    </Button>
  );
}

const NEXT: Record<MantineColorScheme, MantineColorScheme> = { auto: "light", light: "dark", dark: "auto" };
const ICONS = { auto: IconDeviceDesktop, light: IconSun, dark: IconMoon };

/** As the system has it, light, dark: in turn. */
export function SchemePick() {
  const words = useWords();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const Icon = ICONS[colorScheme];
  return (
    <ActionIcon variant="subtle" color="gray" aria-label={`${words.scheme}: ${words.schemes[colorScheme]}`} onClick={() => setColorScheme(NEXT[colorScheme])}>
      <Icon size={18} aria-hidden />
    </ActionIcon>
  );
}
