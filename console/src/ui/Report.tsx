import { Stack, Text } from "@mantine/core";

import type { Got } from "../api/client";
import { Ranged } from "./Figure";
import { Panel } from "./Page";
import { Rows } from "./Rows";
import { useWords } from "../words";

type Told = Got<"/v1/plans/{plan_id}/report">;
type Part = Told["parts"][number];
type Free = Part["rows"][number];

/** A report of the service as it is: sentences, figures with their intervals, tables. */
export function Report({ told }: { told: Told }) {
  return (
    <>
      {told.parts.map((part) => (
        <Panel key={part.title} title={part.title}>
          <Stack gap="sm">
            {part.text.map((line) => (
              <Text key={line} size="sm">
                {line}
              </Text>
            ))}
            {part.figures.length > 0 && <FiguresOf part={part} currency={told.currency} />}
            {part.rows.length > 0 && <FreeRows caption={part.title} rows={part.rows} />}
          </Stack>
        </Panel>
      ))}
    </>
  );
}

function FiguresOf({ part, currency }: { part: Part; currency: string | null }) {
  const words = useWords();
  return (
    <Rows
      caption={part.title}
      rows={part.figures}
      keyOf={(row, place) => `${row.name}${place}`}
      columns={[
        { head: words.what, cell: (row) => row.name },
        { head: words.estimate, cell: (row) => <Ranged of={row} currency={currency} /> },
        { head: words.note, cell: (row) => row.note },
      ]}
    />
  );
}

/** Rows whose columns are their own. */
export function FreeRows({ caption, rows }: { caption: string; rows: readonly Free[] }) {
  const heads = Object.keys(rows[0] ?? {});
  return (
    <Rows
      caption={caption}
      rows={rows}
      keyOf={(_, place) => String(place)}
      columns={heads.map((head) => ({
        head,
        number: typeof rows[0]?.[head] === "number",
        cell: (row: Free) => {
          const value: unknown = row[head];
          if (value === null || value === undefined) return "–";
          return typeof value === "string" ? value : JSON.stringify(value);
        },
      }))}
    />
  );
}
