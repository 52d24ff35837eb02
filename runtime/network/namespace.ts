/**
 * Network namespaces of functions. A zygote keeps them as open descriptors, so that no file, no mount and no name is left
 * when it ends; a container joins one in microseconds. Synchronous; for a process whose main thread is all that matters.
 */
import { clone, openFlags } from '../sys/constants.ts';
import { close, open, setLinkUp, setns, unshare } from '../sys/syscalls.ts';

/** The calling thread's own namespace, to come back to. */
export function openOwnNamespace(): number {
  return open('/proc/self/ns/net', openFlags.RDONLY);
}

/**
 * Makes a namespace with nothing in it but a loopback link that is up: no address to the outside and no route.
 * @param home the caller's own namespace, where it is again afterwards
 * @returns a descriptor that keeps it
 */
export function makeNamespace(home: number): number {
  unshare(clone.NEWNET);
  try {
    setLinkUp('lo');
    return openOwnNamespace();
  } finally {
    setns(home, clone.NEWNET);
  }
}

/** Each costs the kernel some 50 KiB and the zygote a descriptor. */
const maxKept = 1000;

/**
 * The namespaces of one zygote by key, and a few made ahead that have no key yet.
 * One writer: the zygote's loop.
 */
export class NamespacePool {
  readonly #home = openOwnNamespace();
  readonly #byKey = new Map<string, number>();
  readonly #spare: number[] = [];
  readonly #spareTarget: number;

  constructor(spareTarget: number) {
    this.#spareTarget = spareTarget;
  }

  /** The key's namespace; a spare one becomes it, and only without spares one is made now. */
  take(key: string): number {
    const fd = this.#byKey.get(key) ?? this.#spare.pop() ?? makeNamespace(this.#home);
    this.#byKey.delete(key);
    this.#byKey.set(key, fd);
    // The one that was not asked for longest makes room. Its function gets another one with its next start.
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size > maxKept && oldest !== undefined) this.drop(oldest);
    return fd;
  }

  /** Containers that run in it keep it alive until they end. */
  drop(key: string): void {
    const fd = this.#byKey.get(key);
    if (fd === undefined) return;
    this.#byKey.delete(key);
    close(fd);
  }

  get wantsSpare(): boolean {
    return this.#spare.length < this.#spareTarget;
  }

  makeSpare(): void {
    this.#spare.push(makeNamespace(this.#home));
  }
}
