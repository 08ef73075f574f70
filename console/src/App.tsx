import { Button, Center, Loader } from "@mantine/core";
import { Navigate, Link, Route, Routes } from "react-router";

import { Layout } from "./shell/Layout";
import { Login } from "./shell/Login";
import { pagesFor } from "./shell/places";
import { useSession } from "./shell/session";
import { Empty, Failed } from "./ui/Stated";
import { useWords } from "./words";

export function App() {
  const session = useSession();
  const words = useWords();
  if (session.isPending) {
    return (
      <Center h="100dvh">
        <Loader aria-label={words.loading} />
      </Center>
    );
  }
  if (session.error) {
    return (
      <Center h="100dvh" p="md">
        <Failed error={session.error} again={() => void session.refetch()} />
      </Center>
    );
  }
  if (!session.data) return <Login />;
  const pages = pagesFor(session.data.scopes);
  return (
    <Routes>
      <Route element={<Layout session={session.data} />}>
        {pages[0] && <Route index element={<Navigate to={pages[0].path} replace />} />}
        {pages.map(({ path, Page }) => (
          <Route key={path} path={`${path}/*`} element={<Page />} />
        ))}
        <Route path="*" element={<Lost />} />
      </Route>
    </Routes>
  );
}

function Lost() {
  const words = useWords();
  return (
    <Empty title={words.lost.title}>
      <p>{words.lost.what}</p>
      <Button component={Link} to="/" variant="default">
        {words.lost.home}
      </Button>
    </Empty>
  );
}
