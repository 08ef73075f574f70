/** Numbers, money and times as a reader of the language writes them; times in the shop's zone. */
import { createContext, useContext, useMemo } from "react";

import type { Schemas } from "../api/client";
import { useLanguage } from "./index";

const DIGITS: Record<string, number> = { JPY: 0, KRW: 0, VND: 0, CLP: 0, BHD: 3, KWD: 3, JOD: 3, TND: 3 };
const NOT_KNOWN = "–";

type Unit = Schemas["Figure"]["unit"];
export type Formats = {
  number: (value: number, digits?: number) => string;
  share: (value: number, digits?: number) => string;
  money: (minor: number, currency: string, whole?: boolean) => string;
  value: (value: number | null, unit: Unit, currency: string | null) => string;
  day: (at: string) => string;
  time: (at: string) => string;
};

/** The zone of the shop, in which every time is shown. */
export const Zone = createContext("UTC");

/** How many minor units make one unit of a currency (ISO 4217). */
export const minorUnits = (currency: string): number => 10 ** (DIGITS[currency] ?? 2);

export function useFormats(): Formats {
  const { language } = useLanguage();
  const zone = useContext(Zone);
  return useMemo(() => formatsOf(language === "zh" ? "zh-CN" : "en-GB", zone), [language, zone]);
}

function formatsOf(locale: string, timeZone: string): Formats {
  const date = { timeZone, year: "numeric", month: "short", day: "numeric" } as const;
  const dates = new Intl.DateTimeFormat(locale, date);
  const times = new Intl.DateTimeFormat(locale, { ...date, hour: "2-digit", minute: "2-digit" });
  const number = (value: number, digits = 0) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);
  const share = (value: number, digits = 1) => new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits }).format(value);
  const money = (minor: number, currency: string, whole = false) =>
    new Intl.NumberFormat(locale, {
      style: "currency",
      currency,
      currencyDisplay: "narrowSymbol",
      signDisplay: "negative", // no minus before a rounded zero
      ...(whole ? { maximumFractionDigits: 0, minimumFractionDigits: 0 } : {}),
    }).format(minor / minorUnits(currency));
  const value = (what: number | null, unit: Unit, currency: string | null) => {
    if (what === null) return NOT_KNOWN;
    if (unit === "minor") return currency ? money(what, currency) : number(what);
    if (unit === "share") return share(what);
    return number(what, unit === "count" ? 0 : 2);
  };
  return { number, share, money, value, day: (at) => dates.format(new Date(at)), time: (at) => times.format(new Date(at)) };
}
