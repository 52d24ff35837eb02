/**
 * The life of a container as one transition function. Pure.
 *
 * ```
 *  starting ──sealed──▶ running ──ended──▶ exited ──removed──▶ removed
 *      └───────────────ended───────────────▲ │
 *      any but removed ───────remove────────▶ removing ──removed──▶ removed
 * ```
 */
export type ContainerStatus = 'starting' | 'running' | 'exited' | 'removing' | 'removed';
export type ContainerEvent = 'sealed' | 'ended' | 'remove' | 'removed';

const transitions: Record<ContainerStatus, Partial<Record<ContainerEvent, ContainerStatus>>> = {
  starting: { sealed: 'running', ended: 'exited', remove: 'removing' },
  // A container may end before the daemon has read that it was sealed.
  exited: { sealed: 'exited', ended: 'exited', remove: 'removing' },
  running: { ended: 'exited', remove: 'removing' },
  removing: { sealed: 'removing', ended: 'removing', remove: 'removing', removed: 'removed' },
  removed: { sealed: 'removed', ended: 'removed', remove: 'removed', removed: 'removed' },
};

/** @throws Error for an event that cannot come in this status: a mistake in the runtime */
export function transition(status: ContainerStatus, event: ContainerEvent): ContainerStatus {
  const next = transitions[status][event];
  if (next === undefined) throw new Error(`a container that is ${status} cannot be ${event}`);
  return next;
}
