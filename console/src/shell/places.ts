/** Every page: where it is, what it is called, who may see it. A page whose routes the service lacks is not listed. */
import { IconClipboardList, IconSettings, IconSpeakerphone, IconTrendingUp, IconUserQuestion } from "@tabler/icons-react";
import { lazy } from "react";

export const GROUPS = ["results", "act", "know", "run"] as const;

export const PLACES = [
  { path: "/earned", name: "earned", group: "results", scope: "read", Icon: IconTrendingUp, Page: lazy(() => import("../pages/Earned")) },
  { path: "/campaigns", name: "campaigns", group: "act", scope: "read", Icon: IconSpeakerphone, Page: lazy(() => import("../pages/Campaigns")) },
  { path: "/plans", name: "plans", group: "act", scope: "read", Icon: IconClipboardList, Page: lazy(() => import("../pages/Plans")) },
  { path: "/customers", name: "customers", group: "know", scope: "read", Icon: IconUserQuestion, Page: lazy(() => import("../pages/Customers")) },
  { path: "/settings", name: "settings", group: "run", scope: "admin", Icon: IconSettings, Page: lazy(() => import("../pages/Settings")) },
] as const;

export type Place = (typeof PLACES)[number];

export const pagesFor = (scopes: readonly string[]): Place[] => PLACES.filter((place) => scopes.includes(place.scope));
