/** Every page: where it is, what it is called, who may see it. A page whose routes the service lacks is not listed. */
import { IconSettings } from "@tabler/icons-react";
import { lazy } from "react";

export const GROUPS = ["results", "act", "know", "run"] as const;

export const PLACES = [
  { path: "/settings", name: "settings", group: "run", scope: "admin", Icon: IconSettings, Page: lazy(() => import("../pages/Settings")) },
] as const;

export type Place = (typeof PLACES)[number];

export const pagesFor = (scopes: readonly string[]): Place[] => PLACES.filter((place) => scopes.includes(place.scope));
