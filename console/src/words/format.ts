/** Numbers, money and times as a reader of the language writes them. */
import { useMemo } from "react";

import { useLanguage } from "./index";

const DIGITS: Record<string, number> = { JPY: 0, KRW: 0, VND: 0, CLP: 0, BHD: 3, KWD: 3, JOD: 3, TND: 3 };

export type Formats = {
  number: (value: number, digits?: number) => string;
  share: (value: number, digits?: number) => string;
  money: (minor: number, currency: string, whole?: boolean) => string;
  day: (at: string) => string;
  time: (at: string) => string;
};

/** How many minor units make one unit of a currency (ISO 4217). */
export function minorUnits(currency: string): number {
  return 10 ** (DIGITS[currency] ?? 2);
}

export function useFormats(): Formats {
  const { language } = useLanguage();
  return useMemo(() => formatsOf(language === "zh" ? "zh-CN" : "en-GB"), [language]);
}

function formatsOf(locale: string): Formats {
  const dates = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric" });
  const times = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  return {
    number: (value, digits = 0) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value),
    share: (value, digits = 1) => new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits }).format(value),
    money: (minor, currency, whole = false) =>
      new Intl.NumberFormat(locale, {
        style: "currency",
        currency,
        currencyDisplay: "narrowSymbol",
        ...(whole ? { maximumFractionDigits: 0, minimumFractionDigits: 0 } : {}),
      }).format(minor / minorUnits(currency)),
    day: (at) => dates.format(new Date(at)),
    time: (at) => times.format(new Date(at)),
  };
}
