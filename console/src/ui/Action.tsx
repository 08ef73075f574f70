import { Text } from "@mantine/core";

import { useWords } from "../words";

/** What can be done for a customer, `offer|item|channel`, as people say it. */
export function useAction(): (action: string) => string {
  const words = useWords();
  const channels: Record<string, string | undefined> = words.channels;
  const kinds: Record<string, string | undefined> = words.offerKinds;
  return (action) => {
    const [offer = "", item, channel] = action.split("|");
    const named = kinds[offer] ?? offer;
    return [item && item !== "-" ? `${named} ${item}` : named, channel ? (channels[channel] ?? channel) : ""].filter(Boolean).join(" · ");
  };
}

export function Action({ of }: { of: string }) {
  const say = useAction();
  return (
    <Text component="span" size="sm">
      {say(of)}
    </Text>
  );
}

/** A name from a small list of the words, or the code itself where the service has a new one. */
export function named(words: Record<string, string>, code: string): string {
  return words[code] ?? code;
}
