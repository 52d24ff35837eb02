/**
 * Bounds how fast an instance's output is read. Beyond its cap output is thrown away, but reading and throwing away costs
 * this process too: a flooding instance is read at most this fast, and its own writes wait.
 */
import type { Socket } from 'node:net';

/** Bytes that may be read at once, and per second after that. */
const burstBytes = 1024 * 1024;
const bytesPerMs = 8 * 1024;

export class OutputThrottle {
  readonly #sockets = new Set<Socket>();
  #debt = 0;
  #atMs = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** The socket pauses with the others while the debt is too high. */
  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  spend(bytes: number): void {
    const now = performance.now();
    this.#debt = Math.max(0, this.#debt - (now - this.#atMs) * bytesPerMs) + bytes;
    this.#atMs = now;
    if (this.#debt <= burstBytes || this.#timer) return;
    for (const socket of this.#sockets) socket.pause();
    this.#timer = setTimeout(() => this.#resume(), (this.#debt - burstBytes / 2) / bytesPerMs);
  }

  /** Lets the rest be read to its end: the process behind it is gone. */
  release(): void {
    clearTimeout(this.#timer);
    this.#resume();
  }

  #resume(): void {
    this.#timer = undefined;
    for (const socket of this.#sockets) socket.resume();
  }
}
