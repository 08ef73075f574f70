import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const service = process.env.TRADEWIND_SERVICE ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    outDir: "../src/tradewind/serve/console_build",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 700, // the charting library, loaded with the first chart
  },
  server: { proxy: { "/v1": service } },
});
