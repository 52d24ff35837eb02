/** The life cycle of an instance as this node sees it. Pure; `instance.ts` is the only one that moves through it. */

/**
 * ```
 *            ready          taken
 *  starting ───────▶ idle ◀────────▶ busy        `taken` also while busy, when the version allows several at a time
 *      │               │   drained     │
 *      │ retired       │ retired       │ retired
 *      ▼               ▼               ▼
 *  retiring ◀──────────┴───────────────┘         takes nothing new; ends when nothing is left running
 *      │ ended (from every state)
 *      ▼
 *    gone
 * ```
 */
export type InstanceState = 'starting' | 'idle' | 'busy' | 'retiring' | 'gone';
export type InstanceEvent = 'ready' | 'taken' | 'drained' | 'retired' | 'ended';

const transitions: Record<InstanceState, Partial<Record<InstanceEvent, InstanceState>>> = {
  starting: { ready: 'idle', retired: 'retiring', ended: 'gone' },
  idle: { taken: 'busy', retired: 'retiring', ended: 'gone' },
  busy: { taken: 'busy', drained: 'idle', retired: 'retiring', ended: 'gone' },
  retiring: { ready: 'retiring', drained: 'retiring', retired: 'retiring', ended: 'gone' },
  gone: { ready: 'gone', drained: 'gone', retired: 'gone', ended: 'gone' },
};

/** @throws Error on a step that the picture does not have: a bug of this process, never of a peer */
export function nextInstanceState(state: InstanceState, event: InstanceEvent): InstanceState {
  const next = transitions[state][event];
  if (next === undefined) throw new Error(`instance state "${state}" has no step "${event}"`);
  return next;
}
