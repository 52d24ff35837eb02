/** Archives that no honest tool writes, byte by byte (POSIX ustar): what `packTar` refuses to make or cannot. */

export interface RawEntry {
  name: string;
  /** `0` file, `1` hard link, `2` symlink, `3` character device, `4` block device, `5` directory, `6` fifo, `S` GNU sparse. */
  typeflag: string;
  linkname?: string;
  /** Octal digits of the size field; the length of the body when absent. */
  size?: string;
  body?: Buffer;
}

export function rawArchive(entries: RawEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(rawEntry), Buffer.alloc(1024)]);
}

function rawEntry(entry: RawEntry): Buffer[] {
  const body = entry.body ?? Buffer.alloc(0);
  const header = Buffer.alloc(512);
  header.write(entry.name, 0, 100);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${(entry.size ?? body.byteLength.toString(8)).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(entry.typeflag, 156);
  header.write(entry.linkname ?? '', 157, 100);
  header.write('ustar\0', 257, 'latin1');
  header.write('00', 263);
  header.write('0000001\0', 329);
  header.write('0000003\0', 337);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return [header, body, Buffer.alloc((512 - (body.byteLength % 512)) % 512)];
}

/** A pax header for the entry that follows it. */
export function paxRecords(records: Record<string, string>): RawEntry {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`;
    let length = Buffer.byteLength(rest);
    while (length !== Buffer.byteLength(`${length}${rest}`)) length = Buffer.byteLength(`${length}${rest}`);
    return `${length}${rest}`;
  });
  return { name: 'PaxHeader', typeflag: 'x', body: Buffer.from(lines.join('')) };
}
