/** From a request of the API to what the runtime starts. Pure. */
import type { ContainerOptions, ResolvedImage } from '../../runtime/index.ts';
import type { InstanceHello } from '../contracts/agent.ts';
import type { ContainerRequest } from '../contracts/daemon-api.ts';
import { encodeFrame, frameTypes } from '../contracts/frames.ts';

/** What a container may write outside of /tmp; functions own nothing there, so this is room for the kernel's bookkeeping. */
const scratchBytes = 16 * 1024 * 1024;

export function planLaunch(request: ContainerRequest, image: ResolvedImage): ContainerOptions {
  const { socket, token } = request.connect;
  const connection = (channel: InstanceHello['channel'], as: 'control' | 1 | 2) => {
    const hello: InstanceHello = { token, channel };
    return { socket, as, greeting: encodeFrame(frameTypes.hello, 0, JSON.stringify(hello)).toString('base64') };
  };
  return {
    id: request.id,
    owner: request.owner,
    image: image.digest,
    network: request.network,
    hostname: request.hostname,
    rootfs: { layers: image.layerDirectories, tmpBytes: request.limits.tmpBytes, scratchBytes },
    limits: request.limits,
    openFiles: request.limits.openFiles,
    environment: { ...imageEnvironment(image), HOME: '/tmp', ...request.env },
    workingDirectory: image.config.config?.WorkingDir || '/',
    connections: [connection('control', 'control'), connection('stdout', 1), connection('stderr', 2)],
    payload: { kind: 'serve', settings: request.agent },
  };
}

function imageEnvironment(image: ResolvedImage): Record<string, string> {
  const pairs = (image.config.config?.Env ?? []).map((line) => {
    const equals = line.indexOf('=');
    return [line.slice(0, equals), line.slice(equals + 1)] as const;
  });
  return Object.fromEntries(pairs);
}
