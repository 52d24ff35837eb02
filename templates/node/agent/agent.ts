/**
 * The agent of one instance: loads the function, then runs what the worker sends, `settings.concurrency` invocations at
 * a time. It owns the table of running invocations. Knows the connection as a `Channel`, so that it also runs on none.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import { inspect } from 'node:util';
import type { AgentSettings, InstanceReady } from '../../../services/contracts/agent.ts';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeWindow,
  type Frame,
  FrameError,
  frameTypes,
} from '../../../services/contracts/frames.ts';
import { fromResponse, toAnswer } from './answer.ts';
import type { Channel } from './connection.ts';
import { findHeader, toEvent } from './event.ts';
import { describeThrown, invocationFailure } from './failures.ts';
import type { Handler } from './find-handler.ts';
import { checkRequest } from './instance-request.ts';
import { Invocation, type InvocationHooks } from './invocation.ts';
import { loadFailure, loadHandler } from './load.ts';
import { Output, type OutputOwner } from './output.ts';
import { toWebRequest } from './web-request.ts';

export class Agent {
  readonly output: Output;
  readonly #settings: AgentSettings;
  readonly #root: string;
  readonly #channel: Channel;
  readonly #running = new Map<number, Invocation>();
  readonly #current = new AsyncLocalStorage<Invocation>();
  /** Owner of output that no invocation printed. */
  readonly #instance: OutputOwner = { stream: 0, droppedBytes: 0 };
  readonly #hooks: InvocationHooks;
  #handler: Handler | undefined;
  #failed = false;
  /** Why the process is about to end, when an exception is the reason. */
  #uncaught: string | undefined;

  /** @param root folder of the function */
  constructor(settings: AgentSettings, root: string, channel: Channel) {
    this.#settings = settings;
    this.#root = root;
    this.#channel = channel;
    this.output = new Output(channel, () => this.#outputOwner());
    this.#hooks = {
      onLateFailure: (invocation, what, error) => this.#lateFailure(invocation, what, error),
      onSettle: (invocation) => {
        this.output.noteDropped(invocation);
        this.#running.delete(invocation.stream);
      },
    };
  }

  /** Sends `ready` or `failed`. @param onFailed called after `failed` */
  load(onFailed: () => void): void {
    const startedMs = performance.now();
    loadHandler(this.#root, this.#settings, (loaded) => {
      if ('failure' in loaded) {
        this.#fail(loaded.failure);
        return onFailed();
      }
      this.use(loaded.handler, performance.now() - startedMs);
    });
  }

  use(handler: Handler, loadMs: number): void {
    this.#handler = handler;
    const ready: InstanceReady = { style: handler.style, loadMs: Math.round(loadMs * 1000) / 1000 };
    this.#channel.send(frameTypes.ready, 0, JSON.stringify(ready));
  }

  /** @throws FrameError when the worker breaks the protocol */
  onFrame(frame: Frame): void {
    switch (frame.type) {
      case frameTypes.request:
        this.#start(frame);
        return;
      // The other side of an invocation that is over here may not know it yet: what comes for it is dropped.
      case frameTypes.data:
        this.#running.get(frame.stream)?.body.receive(frame.payload);
        return;
      case frameTypes.end:
        this.#running.get(frame.stream)?.body.finish();
        return;
      case frameTypes.window:
        this.#running.get(frame.stream)?.grantAnswer(decodeWindow(frame.payload));
        return;
      case frameTypes.cancel:
        this.#running.get(frame.stream)?.cancel();
        return;
      case frameTypes.ping:
        this.#channel.send(frameTypes.pong, frame.stream, frame.payload);
        return;
      default:
        throw new FrameError(`frame of type ${frame.type} is not for an instance`);
    }
  }

  /** Prints it, and answers with it if it can only belong to one invocation. */
  onUncaught(error: unknown): void {
    const { name, message } = describeThrown(error, this.#root);
    this.#uncaught = `${name}: ${message}`;
    const only = this.#onlyRunning();
    this.output.write('stderr', `uncaught ${show(error)}\n`, only ?? this.#instance);
    only?.sendError(invocationFailure(error, this.#root));
    if (!this.#handler) this.#fail(loadFailure(error, this.#root, this.#settings));
  }

  /** Answers what is still open; the caller has it written. */
  onExit(exitCode: number): void {
    const cause = this.#uncaught ? `an uncaught exception: ${this.#uncaught}` : 'process.exit() or the like';
    const message = `the function ended its process with code ${exitCode}, by ${cause}`;
    for (const invocation of this.#running.values()) {
      this.output.noteDropped(invocation);
      invocation.sendError({ code: 'instance_exited', message, details: { exitCode } });
    }
    if (this.#handler) return;
    const text = `${this.#settings.entry} ended its process with code ${exitCode} while loading`;
    this.#fail({ code: 'function_unloadable', message: text, details: { exitCode } });
  }

  /** Says once that there will be no `ready`. */
  #fail(failure: ErrorBody): void {
    if (this.#failed) return;
    this.#failed = true;
    this.output.noteDropped(this.#instance);
    this.#channel.send(frameTypes.failed, 0, JSON.stringify(failure));
  }

  #start(frame: Frame): void {
    const handler = this.#handler;
    const { head, body } = decodeHeadAndBody(frame.payload);
    const request = checkRequest(head);
    if (!handler) throw new FrameError('request before ready');
    if (this.#running.has(frame.stream)) throw new FrameError(`stream ${frame.stream} is in use`);
    if (this.#running.size >= this.#settings.concurrency) {
      throw new FrameError(`more than ${this.#settings.concurrency} invocations at a time`);
    }
    const whole = request.streamed ? undefined : body;
    const invocation = new Invocation(frame.stream, request, whole, this.#settings, this.#channel, this.#hooks);
    this.#running.set(frame.stream, invocation);
    this.#current.run(invocation, () => this.#run(handler, invocation, whole));
  }

  #run(handler: Handler, invocation: Invocation, whole: Buffer | undefined): void {
    try {
      const result = this.#call(handler, invocation, whole);
      if (!isThenable(result)) {
        this.#finish(handler, invocation, result);
        return;
      }
      result.then(
        (value) => this.#finish(handler, invocation, value),
        (error) => invocation.fail(invocationFailure(error, this.#root)),
      );
    } catch (error) {
      invocation.fail(invocationFailure(error, this.#root));
    }
  }

  #call(handler: Handler, invocation: Invocation, whole: Buffer | undefined): unknown {
    const { request, context } = invocation;
    if (handler.style === 'fetch') return handler.call(webRequest(invocation, whole), context);
    const contentType = findHeader(request.headers, 'content-type');
    if (whole) return handler.call(toEvent(request.path, contentType, whole), context);
    return invocation.body.bytes().then((body) => handler.call(toEvent(request.path, contentType, body), context));
  }

  #finish(handler: Handler, invocation: Invocation, result: unknown): void {
    try {
      invocation.answer(handler.style === 'fetch' ? fromResponse(result) : toAnswer(result));
    } catch (error) {
      invocation.fail(invocationFailure(error, this.#root));
    }
  }

  #lateFailure(invocation: Invocation, what: string, error: unknown): void {
    if (what === 'answer') invocation.sendError(invocationFailure(error, this.#root));
    else this.output.write('stderr', `${what}: ${show(error)}\n`, invocation);
  }

  /** What an ended invocation left running prints for the instance; code without a context, for the only one running. */
  #outputOwner(): OutputOwner {
    const invocation = this.#current.getStore() ?? this.#onlyRunning();
    return invocation && invocation.state !== 'settled' ? invocation : this.#instance;
  }

  #onlyRunning(): Invocation | undefined {
    return this.#running.size === 1 ? this.#running.values().next().value : undefined;
  }
}

function webRequest(invocation: Invocation, whole: Buffer | undefined): Request {
  const body = whole ?? invocation.body.stream();
  const request = toWebRequest(invocation.request, body instanceof Uint8Array && body.byteLength === 0 ? null : body);
  // Passing a signal to the constructor makes a second one that follows it, which most functions never look at.
  Object.defineProperty(request, 'signal', { get: () => invocation.context.signal, configurable: true });
  return request;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

/** For the log. A value may throw while it is inspected. */
function show(value: unknown): string {
  try {
    return value instanceof Error && typeof value.stack === 'string' ? inspect(value) : `exception: ${inspect(value)}`;
  } catch (error) {
    return `exception that cannot be shown (${typeof error})`;
  }
}
