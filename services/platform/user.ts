/** The unprivileged user of the gateway, the worker and Redis. */
import { readFileSync } from 'node:fs';

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** @throws Error with the remedy when there is no such user in `/etc/passwd` */
export function findUser(name: string): User {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const fields = line.split(':');
    if (fields[0] === name) return { name, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error(
    `user "${name}" does not exist; create it with: useradd --system --no-create-home --shell /usr/sbin/nologin ${name}`,
  );
}

/**
 * Gives root away for good. Called after everything is imported and every socket is bound: the code may lie where the
 * user cannot read, and the port may be privileged. Setting a uid other than 0 also clears all capabilities.
 */
export function dropPrivileges(user: User): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([]);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
}
