import { SimpleGrid, Text } from "@mantine/core";
import type { ReactNode } from "react";

import type { Schemas } from "../api/client";
import { useWords } from "../words";
import { useFormats } from "../words/format";

type Interval = Schemas["Interval"];

type RangedProps = { of: Interval | null; currency: string | null; stacked?: boolean };

/** A figure and its interval: what is not known to be exact never looks exact. */
export function Ranged({ of, currency, stacked }: RangedProps) {
  const say = useFormats();
  if (!of) return <>–</>;
  const exact = of.low === null || of.high === null;
  return (
    <span className="number">
      {say.value(of.value, of.unit, currency)}
      {!exact && (
        <Text component="span" display={stacked ? "block" : "inline"} size={stacked ? "xs" : "sm"} c="dimmed" fw={400}>
          {stacked ? "" : " ("}
          {say.value(of.low, of.unit, currency)} … {say.value(of.high, of.unit, currency)}
          {stacked ? "" : ")"}
        </Text>
      )}
    </span>
  );
}

export type Fact = { name: string; value: ReactNode; note?: ReactNode };

/** A few figures side by side, each under its name. */
export function Facts({ facts }: { facts: readonly Fact[] }) {
  return (
    <SimpleGrid component="dl" m={0} cols={{ base: 2, sm: Math.min(facts.length, 5) }} spacing="lg" verticalSpacing="md">
      {facts.map(({ name, value, note }) => (
        <div key={name}>
          <Text component="dt" size="xs" c="dimmed">
            {name}
          </Text>
          <Text component="dd" m={0} fz={20} fw={620} className="number">
            {value}
            {note && (
              <Text component="span" display="block" size="xs" c="dimmed" fw={400}>
                {note}
              </Text>
            )}
          </Text>
        </div>
      ))}
    </SimpleGrid>
  );
}

/** The part of an interval that is said in words beneath a large figure. */
export function useBetween() {
  const words = useWords();
  const say = useFormats();
  return (of: Interval, currency: string | null) =>
    of.low === null || of.high === null
      ? words.exact
      : words.between(say.share(of.level, 0), say.value(of.low, of.unit, currency), say.value(of.high, of.unit, currency));
}
