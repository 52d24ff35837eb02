/**
 * What the daemon and a zygote say to each other. JSON with a length in front (u32le), on two pipes.
 *
 * ```
 *  daemon                       zygote                          child
 *    │                            │  loads, warms up, enters its stage
 *    │◀───────── ready ───────────│
 *    │───────── start ───────────▶│
 *    │                            │── clone3 ───────────────────▶│  a child of the daemon (CLONE_PARENT)
 *    │◀──────── forked ───────────│                              │  cgroup · sockets · namespaces · mounts · identity
 *    │◀──────────────────────── sealed | failed ─────────────────│  on the zygote's own pipe, then closes it
 *    │                            │                              │  serves, or has become another program
 *    │── network, drop-network ──▶│
 *    │  (end of the pipe)         │  exits; its containers go on
 * ```
 * Messages of children and zygote share the pipe to the daemon; each is one small write, which the kernel keeps
 * whole. `forked` and `sealed` of one start may come in either order.
 */
import type { CgroupEntry } from '../cgroup/cgroup.ts';
import type { RootfsSpec } from '../sandbox/mount-plan.ts';

/** An unix socket connection made before the container is sealed; its peer's address is unreachable from inside. */
export interface Connection {
  readonly socket: string;
  /** 1 and 2 become the container's stdout and stderr; `control` is handed to the agent. */
  readonly as: 'control' | 1 | 2;
  /** Base64 of the bytes that are sent first. */
  readonly greeting: string;
}

export type Payload =
  /** Stays a Node process: the preloaded agent serves. */
  | { readonly kind: 'serve'; readonly settings: Readonly<Record<string, unknown>> }
  /** Becomes another program of its image. */
  | { readonly kind: 'exec'; readonly path: string; readonly args: readonly string[] };

export interface LaunchSpec {
  readonly id: string;
  readonly cgroup: CgroupEntry;
  /** Key of the network namespace. */
  readonly network: string;
  readonly hostname: string;
  readonly rootfs: RootfsSpec;
  readonly uid: number;
  readonly gid: number;
  readonly openFiles: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly connections: readonly Connection[];
  readonly payload: Payload;
}

export type ToZygote =
  | { readonly type: 'start'; readonly spec: LaunchSpec }
  | { readonly type: 'network'; readonly key: string }
  | { readonly type: 'drop-network'; readonly key: string };

export type FromZygote =
  | { readonly type: 'ready' }
  | { readonly type: 'forked'; readonly id: string; readonly pid: number }
  /** Milliseconds by step. */
  | { readonly type: 'sealed'; readonly id: string; readonly phases: Readonly<Record<string, number>> }
  | { readonly type: 'failed'; readonly id: string; readonly step: string; readonly message: string };

/** How a zygote is started: one JSON argument of `main.ts`. */
export interface ZygoteConfig {
  /** Module whose `warmUp()` and `serve()` make the agent. */
  readonly agent: string;
  /** An existing directory for the zygote's root; outside of it, nothing is seen of the mount. */
  readonly stage: string;
  /** Host directories that containers are made from, kept at their paths: image layers, sockets, cgroups. */
  readonly binds: readonly string[];
  /** Network namespaces kept ready. */
  readonly spareNetworks: number;
}

/** What a zygote calls of its agent module. */
export interface Agent {
  /** Once, in the zygote: loads and compiles all that functions will need. Leaves no handle open. */
  warmUp(): void | Promise<void>;
  /** In the sealed container. Returns at once; the event loop does the rest. */
  serve(options: { controlFd: number; settings: Readonly<Record<string, unknown>> }): void;
}

export function encodeMessage(message: ToZygote | FromZygote): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(4 + length);
  bytes.writeUInt32LE(length, 0);
  bytes.write(text, 4);
  return bytes;
}

/** Cuts a byte stream into messages; keeps the unfinished rest. */
export class MessageReader<Message> {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Message[] {
    const bytes = this.#rest.byteLength === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const messages: Message[] = [];
    let offset = 0;
    while (bytes.byteLength - offset >= 4) {
      const end = offset + 4 + bytes.readUInt32LE(offset);
      if (end > bytes.byteLength) break;
      messages.push(JSON.parse(bytes.toString('utf8', offset + 4, end)) as Message);
      offset = end;
    }
    this.#rest = Buffer.from(bytes.subarray(offset));
    return messages;
  }
}
