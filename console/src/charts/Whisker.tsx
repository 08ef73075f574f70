import { useWords } from "../words";

type WhiskerProps = { value: number; low: number; high: number; label: string; say: (value: number) => string };

/** One estimate on a line that shows zero: where the truth may lie, and on which side. */
export function Whisker({ value, low, high, label, say }: WhiskerProps) {
  const words = useWords();
  const from = Math.min(0, low);
  const span = Math.max(0, high) - from || 1;
  const at = (x: number) => 4 + (92 * (x - from)) / span;
  return (
    <div role="img" aria-label={label} style={{ position: "relative", height: 44, maxWidth: 560 }}>
      <i className="whisker-axis" />
      <i className="whisker-bar" style={{ left: `${at(low)}%`, width: `${at(high) - at(low)}%` }} />
      <i className="whisker-zero" style={{ left: `${at(0)}%` }} />
      <i className="whisker-dot" style={{ left: `${at(value)}%` }} />
      <span className="whisker-mark" style={{ left: `${at(0)}%` }} title={words.zero}>
        {say(0)}
      </span>
    </div>
  );
}
