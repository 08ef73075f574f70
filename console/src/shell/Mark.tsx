/** The sign of the house; says nothing to a screen reader, the name stands beside it. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden focusable="false">
      <rect width="32" height="32" rx="8" fill="var(--mantine-color-sea-8)" />
      <path d="M6 21c5 0 6-4 11-4s6 3 9 3M6 15c5 0 7-5 12-5s6 3 8 3" fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round" />
    </svg>
  );
}
