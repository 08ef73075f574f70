import { Badge, createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

/** Deep sea: the colour of everything that can be pressed. Shade 8 on white and shade 4 on dark keep a contrast of 4.5. */
const sea: MantineColorsTuple = [
  "#e6f7f7", "#d2ecec", "#a5d9d9", "#74c5c6", "#4db4b6", "#34a9ac", "#1d9da1", "#0a8287", "#0b6e75", "#04545a",
];

/** Greys of the dark scheme, with a little sea in them. */
const night: MantineColorsTuple = [
  "#d5dcde", "#b8c2c5", "#93a1a5", "#6f7f84", "#48565b", "#39444a", "#242c31", "#1b2125", "#161b1f", "#101417",
];

export const theme = createTheme({
  colors: { sea, dark: night },
  primaryColor: "sea",
  primaryShade: { light: 8, dark: 7 },
  autoContrast: true,
  cursorType: "pointer",
  defaultRadius: "md",
  fontFamily:
    'system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans", "Noto Sans CJK SC", sans-serif',
  headings: { fontWeight: "620" },
  components: { Badge: Badge.extend({ defaultProps: { tt: "none", fw: 600, variant: "light", miw: "max-content" } }) },
});

/** A page that is a shade off its panels, and grey text with a contrast of 4.5 on both. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: { "--mantine-color-dimmed": "#5a686c", "--page": "#f5f7f8", "--main-ink": "#0b6e75", "--soft-ink": "#0b6e7547", "--faint-ink": "#5d6b6f", "--line-ink": "#dfe5e7", "--warn-ink": "#9a3c00", "--bad-soft": "#ffe3e3" },
  dark: { "--mantine-color-dimmed": "#a4b1b4", "--page": "#14191c", "--main-ink": "#4db4b6", "--soft-ink": "#4db4b65c", "--faint-ink": "#a4b1b4", "--line-ink": "#39444a", "--warn-ink": "#ffc078", "--bad-soft": "#5c2020" },
});
