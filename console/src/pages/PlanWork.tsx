import { Button, Text, TextInput } from "@mantine/core";
import { useState } from "react";

import { api, body } from "../api/client";
import { useSession } from "../shell/session";
import { useAct } from "../ui/acts";
import { Ask } from "../ui/Ask";
import { Job } from "../ui/Job";
import { useWords } from "../words";

/** What a plan still needs: its messages written, handed off, and its outcomes collected. All of it is done by a worker. */
export function useWork(plan: string) {
  const { plans: words } = useWords();
  const may = useSession().data?.scopes.includes("operate");
  const [asking, setAsking] = useState(false);
  const [sender, setSender] = useState("file");
  const [job, setJob] = useState<string | null>(null);
  const params = { path: { plan_id: plan } };
  const begun = { done: words.queued, stale: [], after: (told: { job_id: string }) => setJob(told.job_id) };
  const write = useAct({ act: () => body(api.POST("/v1/plans/{plan_id}/compose", { params, body: { writer: "components", seed: 0 } })), ...begun });
  const hand = useAct({ act: () => body(api.POST("/v1/plans/{plan_id}/deliver", { params, body: { dry_run: false, to: sender } })), ...begun });
  const measure = useAct({ act: () => body(api.POST("/v1/plans/{plan_id}/measure", { params })), ...begun });
  const actions = may && (
    <>
      <Button variant="default" loading={write.isPending} onClick={() => write.mutate(undefined)}>
        {words.write}
      </Button>
      <Button variant="default" onClick={() => setAsking(true)}>
        {words.hand}
      </Button>
      <Button variant="default" loading={measure.isPending} onClick={() => measure.mutate(undefined)}>
        {words.measure}
      </Button>
      <Ask open={asking} title={words.hand} act={words.hand} busy={hand.isPending} onAct={() => hand.mutate(undefined, { onSettled: () => setAsking(false) })} onClose={() => setAsking(false)}>
        <Text size="sm">{words.handAsk}</Text>
        <TextInput label={words.sender} description={words.senderNote} value={sender} onChange={(e) => setSender(e.currentTarget.value)} />
      </Ask>
    </>
  );
  return { actions, progress: job && <Job key={job} id={job} stale={[["plan", plan], ["earned", plan], ["report", plan]]} /> };
}
