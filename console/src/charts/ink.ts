/** The few colours of every chart, which differ in lightness too, so that they can be told apart without seeing hue. */
export type Ink = { main: string; other: string; soft: string; text: string; faint: string; line: string; paper: string; bad: string };

const LIGHT: Ink = {
  main: "#0b6e75", other: "#c2571a", soft: "rgba(11,110,117,.16)", text: "#2b3436", faint: "#5d6b6f", line: "#dfe5e7", paper: "#ffffff", bad: "#b42318",
};
const DARK: Ink = {
  main: "#4db4b6", other: "#f0a06a", soft: "rgba(77,180,182,.22)", text: "#e4eaeb", faint: "#a4b1b4", line: "#39444a", paper: "#1f2529", bad: "#ff8a80",
};

export const inkOf = (dark: boolean): Ink => (dark ? DARK : LIGHT);

/** What every axis, tooltip and legend of ours looks like. */
export function dressed(ink: Ink) {
  return {
    axis: {
      axisLine: { show: false },
      axisTick: { show: false },
      axisLabel: { color: ink.faint, fontSize: 12 },
      nameTextStyle: { color: ink.faint },
      splitLine: { lineStyle: { color: ink.line } },
    },
    tooltip: {
      confine: true,
      backgroundColor: ink.paper,
      borderColor: ink.line,
      textStyle: { color: ink.text, fontSize: 13 },
    },
    legend: { textStyle: { color: ink.text }, icon: "roundRect", itemWidth: 12, itemHeight: 12, top: 0, left: 0 },
    grid: { left: 8, right: 16, top: 34, bottom: 8, containLabel: true },
  };
}
