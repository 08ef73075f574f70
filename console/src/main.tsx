import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./styles.css";

import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";

import { Problem } from "./api/client";
import { App } from "./App";
import { theme, variables } from "./theme";
import { Speaking } from "./words";

/** A session that has ended shows the log-in page, whichever request found out. */
function ended(error: Error): void {
  if (error instanceof Problem && error.status === 401) queries.setQueryData(["session"], null);
}

const passing = (error: Error) => error instanceof Problem && [429, 502, 503].includes(error.status);

const queries = new QueryClient({
  queryCache: new QueryCache({ onError: ended }),
  mutationCache: new MutationCache({ onError: ended }),
  defaultOptions: { queries: { staleTime: 15_000, retry: (times, error) => times < 2 && passing(error) } },
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto">
      <Notifications position="bottom-right" />
      <QueryClientProvider client={queries}>
        <Speaking>
          <BrowserRouter basename="/console">
            <App />
          </BrowserRouter>
        </Speaking>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
