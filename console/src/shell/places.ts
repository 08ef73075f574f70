/** Every page: where it is, what it is called, who may see it. A page whose routes the service lacks is not listed. */
import {
  IconBox, IconBrain, IconClipboardList, IconCoins, IconDatabase, IconFlask, IconMessage2, IconSettings, IconShieldHalf, IconSpeakerphone, IconTrendingUp,
  IconUserQuestion, IconUsersGroup,
} from "@tabler/icons-react";
import { lazy } from "react";

export const GROUPS = ["results", "act", "know", "run"] as const;

export const PLACES = [
  { path: "/earned", name: "earned", group: "results", scope: "read", Icon: IconTrendingUp, Page: lazy(() => import("../pages/Earned")) },
  { path: "/budgets", name: "budgets", group: "results", scope: "read", Icon: IconCoins, Page: lazy(() => import("../pages/Budgets")) },
  { path: "/experiments", name: "experiments", group: "results", scope: "read", Icon: IconFlask, Page: lazy(() => import("../pages/Experiments")) },
  { path: "/campaigns", name: "campaigns", group: "act", scope: "read", Icon: IconSpeakerphone, Page: lazy(() => import("../pages/Campaigns")) },
  { path: "/plans", name: "plans", group: "act", scope: "read", Icon: IconClipboardList, Page: lazy(() => import("../pages/Plans")) },
  { path: "/copy", name: "copy", group: "act", scope: "read", Icon: IconMessage2, Page: lazy(() => import("../pages/Copy")) },
  { path: "/customers", name: "customers", group: "know", scope: "read", Icon: IconUserQuestion, Page: lazy(() => import("../pages/Customers")) },
  { path: "/segments", name: "segments", group: "know", scope: "read", Icon: IconUsersGroup, Page: lazy(() => import("../pages/Segments")) },
  { path: "/demand", name: "demand", group: "know", scope: "read", Icon: IconBox, Page: lazy(() => import("../pages/Demand")) },
  { path: "/risk", name: "risk", group: "know", scope: "read", Icon: IconShieldHalf, Page: lazy(() => import("../pages/Risk")) },
  { path: "/data", name: "data", group: "run", scope: "read", Icon: IconDatabase, Page: lazy(() => import("../pages/Data")) },
  { path: "/models", name: "models", group: "run", scope: "read", Icon: IconBrain, Page: lazy(() => import("../pages/Models")) },
  { path: "/settings", name: "settings", group: "run", scope: "admin", Icon: IconSettings, Page: lazy(() => import("../pages/Settings")) },
] as const;

export type Place = (typeof PLACES)[number];

export const pagesFor = (scopes: readonly string[]): Place[] => PLACES.filter((place) => scopes.includes(place.scope));
