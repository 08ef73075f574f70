import type { EChartsOption } from "echarts";
import { useCallback } from "react";

import { useWords } from "../words";
import { Chart, type Sheet } from "./Chart";
import { dressed, type Ink } from "./ink";

export type Spread = { name: string; value: number; low: number; high: number };
type Say = (value: number) => string;
type IntervalsProps = { label: string; rows: readonly Spread[]; say: Say };

/** Estimates as dots with whiskers over a common scale which always shows zero. */
export function Intervals({ label, rows, say }: IntervalsProps) {
  const words = useWords();
  const option = useCallback((ink: Ink) => intervalsOption(ink, rows, say), [rows, say]);
  const sheet: Sheet = {
    head: [words.what, words.estimate, words.low, words.high],
    rows: rows.map((row) => [row.name, say(row.value), say(row.low), say(row.high)]),
  };
  return <Chart label={label} sheet={sheet} option={option} height={56 + rows.length * 34} />;
}

function intervalsOption(ink: Ink, rows: readonly Spread[], say: Say): EChartsOption {
  const { axis, tooltip } = dressed(ink);
  const names = rows.map((row) => row.name);
  return {
    grid: { left: 8, right: 24, top: 8, bottom: 4 },
    tooltip: {
      ...tooltip,
      trigger: "item",
      formatter: (hit) => {
        const row = rows[(Array.isArray(hit) ? hit[0] : hit)?.dataIndex ?? 0];
        return row ? plain(row.name, `${say(row.value)}  (${say(row.low)} ... ${say(row.high)})`) : "";
      },
    },
    xAxis: { ...axis, type: "value", axisLabel: { ...axis.axisLabel, formatter: say, hideOverlap: true } },
    yAxis: { ...axis, type: "category", data: names, inverse: true, splitLine: { show: false }, axisLabel: { ...axis.axisLabel, color: ink.text, width: 170, overflow: "truncate" } },
    series: [
      {
        type: "custom",
        data: rows.map((row, place) => [place, row.low, row.value, row.high]),
        encode: { x: [1, 2, 3], y: 0 },
        renderItem: (_, at) => whisker({ value: (place) => Number(at.value(place)), coord: (point) => at.coord(point) as [number, number] }, ink),
        markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: ink.faint, type: "solid", width: 1 }, data: [{ xAxis: 0 }] },
      },
    ],
  };
}

type Placing = { value: (place: number) => number; coord: (point: [number, number]) => [number, number] };

function whisker(at: Placing, ink: Ink) {
  const row = at.value(0);
  const [low, y] = at.coord([at.value(1), row]);
  const [dot] = at.coord([at.value(2), row]);
  const [high] = at.coord([at.value(3), row]);
  const stroke = { stroke: ink.main, lineWidth: 2 };
  return {
    type: "group" as const,
    children: [
      { type: "line" as const, shape: { x1: low, y1: y, x2: high, y2: y }, style: stroke },
      { type: "line" as const, shape: { x1: low, y1: y - 6, x2: low, y2: y + 6 }, style: stroke },
      { type: "line" as const, shape: { x1: high, y1: y - 6, x2: high, y2: y + 6 }, style: stroke },
      { type: "circle" as const, shape: { cx: dot, cy: y, r: 6 }, style: { fill: ink.main, stroke: ink.paper, lineWidth: 2 } },
    ],
  };
}

/** Text for a tooltip: what came from a shop's data is never markup. */
function plain(...lines: string[]): string {
  return lines.map((line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;")).join("<br/>");
}

export type Line = { name: string; values: readonly (number | null)[]; dashed?: boolean; second?: boolean };
export type Band = { name: string; low: readonly (number | null)[]; high: readonly (number | null)[] };
type LinesProps = { label: string; x: readonly string[]; lines: readonly Line[]; band?: Band; say: Say; height?: number };

/** Lines over days from zero up, with an interval drawn as a band behind them. */
export function Lines({ label, x, lines, band, say, height }: LinesProps) {
  const words = useWords();
  const option = useCallback((ink: Ink, narrow: boolean) => linesOption(ink, narrow, { x, lines, band, say }), [x, lines, band, say]);
  const cell = (value: number | null | undefined) => (value === null || value === undefined ? "" : say(value));
  const sheet: Sheet = {
    head: [words.day, ...lines.map((line) => line.name), ...(band ? [words.low, words.high] : [])],
    rows: x.map((day, place) => [
      day,
      ...lines.map((line) => cell(line.values[place])),
      ...(band ? [cell(band.low[place]), cell(band.high[place])] : []),
    ]),
  };
  return <Chart label={label} sheet={sheet} option={option} height={height} />;
}

function linesOption(ink: Ink, narrow: boolean, { x, lines, band, say }: Omit<LinesProps, "label" | "height">): EChartsOption {
  const { axis, tooltip, legend, grid } = dressed(ink);
  const spread = band ? bandSeries(ink, band) : [];
  return {
    grid,
    legend: { ...legend, data: [...lines.map((line) => line.name), ...(band ? [band.name] : [])] },
    tooltip: {
      ...tooltip,
      trigger: "axis",
      formatter: (hits) => {
        const place = (Array.isArray(hits) ? hits[0] : hits)?.dataIndex ?? 0;
        const told = lines.flatMap((line) => (line.values[place] === null ? [] : [`${line.name}: ${say(line.values[place] ?? 0)}`]));
        const low = band?.low[place];
        const high = band?.high[place];
        if (band && low !== null && low !== undefined && high !== null && high !== undefined) told.push(`${band.name}: ${say(low)} ... ${say(high)}`);
        return plain(x[place] ?? "", ...told);
      },
    },
    xAxis: { ...axis, type: "category", data: [...x], boundaryGap: false, splitLine: { show: false }, axisLabel: { ...axis.axisLabel, hideOverlap: true, interval: narrow ? "auto" : undefined } },
    yAxis: { ...axis, type: "value", min: (y) => Math.min(0, y.min), axisLabel: { ...axis.axisLabel, formatter: say } },
    series: [
      ...spread,
      ...lines.map((line) => ({
        type: "line" as const,
        name: line.name,
        data: [...line.values],
        showSymbol: false,
        color: line.second ? ink.other : ink.main,
        lineStyle: { width: 2, type: line.dashed ? ("dashed" as const) : ("solid" as const) },
      })),
    ],
  };
}

function bandSeries(ink: Ink, band: Band) {
  const under = { type: "line" as const, stack: "band", silent: true, showSymbol: false, lineStyle: { opacity: 0 } };
  const width = band.low.map((low, place) => (low === null ? null : (band.high[place] ?? low) - low));
  return [
    { ...under, name: `${band.name} `, data: [...band.low] },
    { ...under, name: band.name, data: width, color: ink.main, areaStyle: { color: ink.soft, opacity: 1 } },
  ];
}

export type Bar = { name: string; value: number };

/** Horizontal bars, always from zero. */
export function Bars({ label, rows, say, head }: { label: string; rows: readonly Bar[]; say: Say; head: string }) {
  const words = useWords();
  const option = useCallback((ink: Ink) => barsOption(ink, rows, say), [rows, say]);
  const sheet: Sheet = { head: [words.what, head], rows: rows.map((row) => [row.name, say(row.value)]) };
  return <Chart label={label} sheet={sheet} option={option} height={24 + rows.length * 32} />;
}

function barsOption(ink: Ink, rows: readonly Bar[], say: Say): EChartsOption {
  const { axis } = dressed(ink);
  return {
    grid: { left: 8, right: 72, top: 4, bottom: 4 },
    xAxis: { ...axis, type: "value", min: (x) => Math.min(0, x.min), axisLabel: { show: false }, splitLine: { show: false } },
    yAxis: { ...axis, type: "category", data: rows.map((row) => row.name), inverse: true, axisLabel: { ...axis.axisLabel, color: ink.text, width: 170, overflow: "truncate" } },
    series: [
      {
        type: "bar",
        data: rows.map((row) => row.value),
        barMaxWidth: 16,
        itemStyle: { color: ink.main, borderRadius: 3 },
        label: { show: true, position: "right", color: ink.text, formatter: (hit) => say(Number(hit.value)) },
      },
    ],
  };
}
