import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { encodeMessage, MessageDecoder, MessageType } from '../../lib/xen/store/wire.js';

const CLI = 'dist/vifd.cjs';

it.skipIf(!existsSync(CLI))(
  'a verb reports what it waits for when xenstored goes, and continues when it is back',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vifd-list-'));
    const path = join(directory, 'socket');
    const sockets = new Set<Socket>();
    let well = false;
    // Responds to the requests of a new connection, and ends it at the first request after those.
    const server = createServer((socket) => {
      sockets.add(socket);
      const decoder = new MessageDecoder();
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk) => {
        for (const { type, requestId, transactionId } of decoder.push(chunk)) {
          if (type !== MessageType.GET_DOMAIN_PATH && !well) socket.destroy();
          const payload = type === MessageType.DIRECTORY ? Buffer.alloc(0) : Buffer.from('0');
          if (socket.writable) socket.write(encodeMessage({ type, requestId, transactionId, payload }));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const list = spawn(process.execPath, [CLI, 'list'], { env: { ...process.env, XENSTORED_PATH: path } });
    try {
      let said = '';
      list.stderr.setEncoding('utf8').on('data', (chunk) => {
        said += chunk;
      });
      await expect
        .poll(() => said, { timeout: 5000 })
        .toMatch(/^vifd: The connection to xenstored at .* is lost/);
      well = true;
      expect(await new Promise((resolve) => list.once('exit', resolve))).toBe(0);
    } finally {
      list.kill('SIGKILL');
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true });
    }
  },
);
