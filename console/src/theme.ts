import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** Deep sea: the colour of everything that can be pressed. Shade 8 on white and shade 4 on dark keep a contrast of 4.5. */
const sea: MantineColorsTuple = [
  "#e6f7f7", "#d2ecec", "#a5d9d9", "#74c5c6", "#4db4b6", "#34a9ac", "#1d9da1", "#0a8287", "#0b6e75", "#04545a",
];

export const theme = createTheme({
  colors: { sea },
  primaryColor: "sea",
  primaryShade: { light: 8, dark: 7 },
  autoContrast: true,
  cursorType: "pointer",
  defaultRadius: "md",
  fontFamily:
    'system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans", "Noto Sans CJK SC", sans-serif',
  headings: { fontWeight: "620" },
});
