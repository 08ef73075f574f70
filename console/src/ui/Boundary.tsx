import { Component, type ReactNode } from "react";

import { Failed } from "./Stated";

/** A page that breaks says so, and leaves the navigation alone. Give it a `key` that changes with the page. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (error) return <Failed error={error} again={() => this.setState({ error: null })} />;
    return this.props.children;
  }
}
