import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ask, type QueryServer, type Question, serveQueries } from '../../lib/daemon/query.js';
import { VifdError } from '../../lib/errors.js';

describe('asking a running vifd', () => {
  let directory: string;
  let server: QueryServer | undefined;
  const questions: Question[] = [];
  const answer = (question: Question): unknown => {
    questions.push(question);
    const vif = question.ask === 'workers' ? undefined : question.vif;
    if (vif === 'vif9.9') throw new VifdError('ERR_NO_VIF', 'no such vif');
    return ['x'.repeat(vif === 'vif8.0' ? 1_000_000 : 1)];
  };
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-query-'));
    questions.length = 0;
    server = await serveQueries(directory, answer);
  });
  afterEach(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  /** Sends text unchanged. @returns the response. */
  function send(text: string): Promise<string> {
    return new Promise((resolve) => {
      let got = '';
      const socket = createConnection({ path: join(directory, 'socket') });
      socket.setEncoding('utf8').on('data', (chunk) => {
        got += chunk;
      });
      socket.on('error', () => resolve(got)).on('close', () => resolve(got));
      socket.write(text);
    });
  }

  it('responds to each query, with long responses too, and with errors and their codes', async () => {
    expect(await ask(directory, { ask: 'show' })).toEqual(['x']);
    expect((await ask<string[]>(directory, { ask: 'show', vif: 'vif8.0' }))[0]).toHaveLength(1_000_000);
    await expect(ask(directory, { ask: 'show', vif: 'vif9.9' })).rejects.toMatchObject({
      code: 'ERR_NO_VIF',
      message: 'no such vif',
    });
    expect(questions).toEqual([
      { ask: 'show' },
      { ask: 'show', vif: 'vif8.0' },
      { ask: 'show', vif: 'vif9.9' },
    ]);
  });

  it('knows that its socket was deleted or replaced, and leaves the next one alone when it ends', async () => {
    expect(server?.stands).toBe(true);
    rmSync(join(directory, 'socket'));
    expect(server?.stands).toBe(false);
    await using next = await serveQueries(directory, answer);
    expect(server?.stands).toBe(false);
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    expect(next.stands).toBe(true);
    expect(await ask(directory, { ask: 'show' })).toEqual(['x']);
  });

  it('is for its user alone', () => {
    expect(statSync(join(directory, 'socket')).mode & 0o777).toBe(0o600);
  });

  it.each(['{}\n', 'null\n', '7\n', 'show\n', '{"ask":"stop"}\n', '{"ask":"show","vif":7}\n', '\n'])(
    'refuses %j with ERR_ARGUMENT',
    async (text) => {
      expect(JSON.parse(await send(text))).toMatchObject({ error: { code: 'ERR_ARGUMENT' } });
      expect(questions).toEqual([]);
    },
  );

  it('does not read a question without end, and bounds those who ask at once', async () => {
    expect(JSON.parse(await send('x'.repeat(5000)))).toMatchObject({ error: { code: 'ERR_ARGUMENT' } });
    const silent = Array.from({ length: 20 }, () => createConnection({ path: join(directory, 'socket') }));
    for (const socket of silent) socket.on('error', () => {});
    await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBeGreaterThanOrEqual(12);
    for (const socket of silent) socket.destroy();
    await expect.poll(() => ask(directory, { ask: 'show' })).toEqual(['x']);
  });

  it('replaces a socket that a dead vifd left, and takes its own away', async () => {
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    expect(existsSync(join(directory, 'socket'))).toBe(false);
    writeFileSync(join(directory, 'socket'), '');
    await expect(ask(directory, { ask: 'show' })).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' });
    server = await serveQueries(directory, answer);
    expect(await ask(directory, { ask: 'show' })).toEqual(['x']);
  });

  it('fails with one clear error where no vifd runs, or none can listen', async () => {
    await expect(ask(join(directory, 'none'), { ask: 'show' })).rejects.toMatchObject({
      code: 'ERR_NOT_RUNNING',
      message: expect.stringMatching(/start `vifd run`/),
    });
    await expect(serveQueries(join(directory, 'none'), answer)).rejects.toMatchObject({ code: 'ERR_QUERY' });
  });

  it('without a response fails with the hint that descriptors may be exhausted', async () => {
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    const deaf = createServer((socket) => socket.resume().end()).listen(join(directory, 'socket'));
    await expect(ask(directory, { ask: 'show' })).rejects.toMatchObject({
      code: 'ERR_QUERY',
      message: expect.stringMatching(/EMFILE: raise .*LimitNOFILE/),
    });
    await new Promise((resolve) => deaf.close(resolve));
  });

  it('that cannot be accepted is reported with its remedy, and the socket is not listened at any more', async () => {
    await server?.[Symbol.asyncDispose]();
    const made = vi.spyOn(process.getBuiltinModule('node:net'), 'createServer');
    const errors: VifdError[] = [];
    server = await serveQueries(directory, answer, (error) => errors.push(error));
    const [{ value }] = made.mock.results as { value: Server }[];
    made.mockRestore();
    value?.emit('error', Object.assign(new Error('accept'), { code: 'EMFILE' }));
    expect(errors).toMatchObject([{ code: 'ERR_QUERY', errno: 'EMFILE' }]);
    expect(errors[0]?.message).toMatch(/cannot be accepted \(EMFILE\).*LimitNOFILE/);
    expect(value?.listening).toBe(false);
  });
});
