import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";

import { en } from "./en";
import { zh } from "./zh";

export type Words = typeof en;
export type Language = "en" | "zh";

const ALL: Record<Language, Words> = { en, zh };
const KEPT = "tradewind-language";

function first(): Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

type Told = { words: Words; language: Language; setLanguage: (language: Language) => void };
const Context = createContext<Told>({ words: en, language: "en", setLanguage: () => undefined });

/** Gives every page its words, remembers the language, and tells the browser which one it is. */
export function Speaking({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(first);
  useEffect(() => {
    localStorage.setItem(KEPT, language);
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  const told = useMemo(() => ({ words: ALL[language], language, setLanguage }), [language]);
  return <Context.Provider value={told}>{children}</Context.Provider>;
}

export const useWords = (): Words => useContext(Context).words;
export const useLanguage = (): Told => useContext(Context);

/** A sentence of the service, which it tells in both languages. */
export function useSentence(): (told: { en: string; zh: string }) => string {
  const { language } = useLanguage();
  return (told) => told[language];
}
