import { Button, Table, useComputedColorScheme } from "@mantine/core";
import { BarChart, CustomChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import type { EChartsOption } from "echarts";
import { SVGRenderer } from "echarts/renderers";
import { useEffect, useRef, useState } from "react";

import { useWords } from "../words";
import { inkOf, type Ink } from "./ink";

register([BarChart, LineChart, CustomChart, GridComponent, LegendComponent, MarkLineComponent, TooltipComponent, SVGRenderer]);

export type Sheet = { head: readonly string[]; rows: readonly (readonly string[])[] };
type ChartProps = { label: string; sheet: Sheet; height?: number; option: (ink: Ink, narrow: boolean) => EChartsOption };

/** A drawing and, behind a button, the same figures as a table. The drawing is one image to a screen reader. */
export function Chart({ label, sheet, height = 280, option }: ChartProps) {
  const words = useWords();
  const [asTable, setAsTable] = useState(false);
  return (
    <figure style={{ margin: 0 }}>
      {asTable ? <Figures label={label} sheet={sheet} /> : <Drawing label={label} height={height} option={option} />}
      <Button size="compact-xs" variant="subtle" color="gray" c="dimmed" fw={400} onClick={() => setAsTable(!asTable)} aria-pressed={asTable}>
        {asTable ? words.asChart : words.asTable}
      </Button>
    </figure>
  );
}

function Drawing({ label, height, option }: Omit<ChartProps, "sheet">) {
  const dark = useComputedColorScheme("light") === "dark";
  const box = useRef<HTMLDivElement>(null);
  const [drawn, setDrawn] = useState<EChartsType | null>(null);

  useEffect(() => {
    if (!box.current) return undefined;
    const made = init(box.current, null, { renderer: "svg" });
    const watch = new ResizeObserver(() => made.resize());
    watch.observe(box.current);
    setDrawn(made);
    return () => {
      watch.disconnect();
      made.dispose();
    };
  }, []);

  useEffect(() => {
    if (!drawn || drawn.isDisposed()) return;
    drawn.setOption({ animation: false, ...option(inkOf(dark), drawn.getWidth() < 480) }, { notMerge: true });
    drawn.resize({ height });
  }, [drawn, option, dark, height]);

  return <div ref={box} role="img" aria-label={label} style={{ height }} />;
}

function Figures({ label, sheet }: { label: string; sheet: Sheet }) {
  return (
    <div className="wide" role="region" aria-label={label} tabIndex={0}>
      <Table verticalSpacing={4}>
        <Table.Thead>
          <Table.Tr>
            {sheet.head.map((head) => (
              <Table.Th key={head}>{head}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sheet.rows.map((row) => (
            <Table.Tr key={row.join("|")} className="number">
              {row.map((cell, place) => (
                <Table.Td key={sheet.head[place]}>{cell}</Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
