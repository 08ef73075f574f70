import { Table, Text } from "@mantine/core";
import type { ReactNode } from "react";

export type Column<Row> = { head: string; cell: (row: Row) => ReactNode; number?: boolean; width?: number | string };

type RowsProps<Row> = { caption: string; rows: readonly Row[]; columns: readonly Column<Row>[]; keyOf: (row: Row, place: number) => string };

/** A table whose numbers line up, which a telephone can scroll sideways and a screen reader can name. */
export function Rows<Row>({ caption, rows, columns, keyOf }: RowsProps<Row>) {
  return (
    <div className="wide" role="region" aria-label={caption} tabIndex={0}>
      <Table verticalSpacing="xs" highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            {columns.map((column) => (
              <Table.Th key={column.head} ta={column.number ? "end" : "start"} w={column.width} style={{ whiteSpace: "nowrap" }}>
                <Text component="span" size="xs" c="dimmed" fw={600}>
                  {column.head}
                </Text>
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row, place) => (
            <Table.Tr key={keyOf(row, place)}>
              {columns.map((column) => (
                <Table.Td key={column.head} ta={column.number ? "end" : "start"} className={column.number ? "number" : undefined}>
                  {column.cell(row)}
                </Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
