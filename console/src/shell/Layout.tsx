import { AppShell, Badge, Burger, Group, Menu, NavLink, ScrollArea, Stack, Text, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconLogout } from "@tabler/icons-react";
import { Suspense, useEffect, useRef } from "react";
import { Link, Outlet, useLocation } from "react-router";

import { Boundary } from "../ui/Boundary";
import { useWords } from "../words";
import { Zone } from "../words/format";
import { Mark } from "./Mark";
import { GROUPS, pagesFor } from "./places";
import { LanguagePick, SchemePick } from "./Picks";
import { useLogOut, type Session } from "./session";

/** The frame of every page: where one is, where one can go, and who one is. */
export function Layout({ session }: { session: Session }) {
  const words = useWords();
  const [open, { toggle, close }] = useDisclosure(false);
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const arrived = useRef(false);

  useEffect(() => {
    close();
    if (arrived.current) main.current?.focus({ preventScroll: true });
    arrived.current = true;
    window.scrollTo(0, 0);
  }, [pathname, close]);

  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 248, breakpoint: "sm", collapsed: { mobile: !open } }} padding={{ base: "md", sm: "xl" }}>
      <a className="skip" href="#main">
        {words.skip}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={words.menu} aria-expanded={open} />
            <Mark />
            <Text fw={650} visibleFrom="xs">
              {session.shop}
            </Text>
            {session.simulated && (
              <Badge color="orange" c="var(--warn-ink)" size="sm" style={{ flexShrink: 0 }} title={words.simulatedWhy}>
                {words.simulated}
              </Badge>
            )}
          </Group>
          <Group gap={4} wrap="nowrap">
            <LanguagePick />
            <SchemePick />
            <Person session={session} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar component="nav" aria-label={words.navigation} p="sm">
        <Places session={session} pathname={pathname} />
      </AppShell.Navbar>
      <AppShell.Main id="main" ref={main} tabIndex={-1}>
        <div style={{ maxWidth: 1180, marginInline: "auto" }}>
          <Boundary key={pathname}>
            <Suspense fallback={<Text c="dimmed">{words.loading}</Text>}>
              <Zone value={session.zone}>
                <Outlet />
              </Zone>
            </Suspense>
          </Boundary>
        </div>
      </AppShell.Main>
    </AppShell>
  );
}

function Places({ session, pathname }: { session: Session; pathname: string }) {
  const words = useWords();
  const pages = pagesFor(session.scopes);
  return (
    <ScrollArea>
      <Stack gap="md">
        {GROUPS.map((group) => {
          const inside = pages.filter((page) => page.group === group);
          if (inside.length === 0) return null;
          return (
            <div key={group}>
              <Text size="xs" fw={650} c="dimmed" px="sm" pb={4}>
                {words.groups[group]}
              </Text>
              {inside.map(({ path, name, Icon }) => {
                const here = pathname === path || pathname.startsWith(`${path}/`);
                return (
                  <NavLink
                    key={path}
                    component={Link}
                    to={path}
                    active={here}
                    aria-current={here ? "page" : undefined}
                    label={words.pages[name]}
                    leftSection={<Icon size={18} stroke={1.7} aria-hidden />}
                    style={{ borderRadius: 8 }}
                  />
                );
              })}
            </div>
          );
        })}
      </Stack>
    </ScrollArea>
  );
}

function Person({ session }: { session: Session }) {
  const words = useWords();
  const logOut = useLogOut();
  const roles: Record<string, string | undefined> = words.roles;
  return (
    <Menu position="bottom-end" withinPortal>
      <Menu.Target>
        <UnstyledButton px="xs" py={4} style={{ borderRadius: 8 }}>
          <Group gap={4} wrap="nowrap">
            <Text size="sm" fw={500}>
              {session.name}
            </Text>
            <IconChevronDown size={14} aria-hidden />
          </Group>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{roles[session.role] ?? session.role}</Menu.Label>
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => logOut.mutate()}>
          {words.logOut}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
