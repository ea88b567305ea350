/** A worker's process on xensim, with a tap in a network namespace of its own. This process is its supervisor. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunOptions } from '../../lib/daemon/option-table.js';
import { makeLiveness } from '../../lib/host/liveness.js';
import { LocalKeeper } from '../../lib/host/local-keeper.js';
import { createVif } from '../../lib/testing/netfront/toolstack.js';
import { LINK_PROTOCOL } from '../../lib/workers/messages.js';
import { RemoteVifs } from '../../lib/workers/remote-vifs.js';
import { linkTo, workersIn } from '../../lib/workers/worker-socket.js';
import { ROOT, XENSIM_LIBRARIES } from '../../worlds/places.js';
import { BridgedWorld } from '../../worlds/processes/bridged-world.js';
import { until } from '../../worlds/processes/until.js';
import { inOwnNetwork } from '../own-network.js';
import { socketPair } from './socket-pair.js';

const SOON_MS = 5000;
const PLACE = { id: 'vif7.0', domid: 7, handle: 0, path: '/local/domain/0/backend/vif/7/0' } as const;
/** Runs a worker as the hidden verb does. */
const PROGRAM = `
  const { runWorker } = await import(${JSON.stringify(join(ROOT, 'dist/workers/worker-process.js'))});
  await runWorker(JSON.parse(process.argv[1])).catch((error) => {
    process.stderr.write(error.code + ' ' + error.message);
    process.exit(1);
  });`;

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<string>;
  output: string;
}

const soon = async (holds: () => unknown) => expect(await until(holds, SOON_MS)).toBeTruthy();

function runTests(): void {
  let world: BridgedWorld;
  let options: RunOptions;
  const started: Started[] = [];
  const rethrow = (error: Error) => {
    throw error;
  };
  const kept = new LocalKeeper(rethrow);
  beforeAll(async () => {
    world = await BridgedWorld.open('worker');
    await world.addDomain(7);
    options = {
      ...{ payload: 'copy', queues: 2, journal: world.journal(), journalVersion: 8, json: true },
      workers: 1,
      ...{ store: world.socket(0), libraries: XENSIM_LIBRARIES },
    };
    await createVif(world.toolstack, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07', bridge: 'br0' });
  });
  afterAll(async () => {
    for (const { child } of started) child.kill('SIGKILL');
    kept[Symbol.dispose]();
    await world[Symbol.asyncDispose]();
  });
  const start = (link: number | 'ignore'): Started => {
    const page = makeLiveness();
    const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM, JSON.stringify(options)], {
      env: { ...process.env, ...world.environment(0) },
      stdio: ['ignore', 'pipe', 'pipe', link, page],
    });
    closeSync(page);
    const ended = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `${code}`));
    });
    const one: Started = { child, ended, output: '' };
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        one.output += chunk;
      });
    started.push(one);
    return one;
  };
  const follow = (descriptor: number) => {
    const ends: unknown[] = [];
    let beats = 0;
    const remote = new RemoteVifs(descriptor, {
      onHello: () => {},
      ...{ onAttached: () => {}, onDetached: () => {}, onChanged: () => {}, onGone: () => {} },
      onLookAgain: () => {},
      onKeep: (name, one) => kept.own(name, one),
      onForget: (name) => kept.forget(name),
      onKeepChannels: (vif, { descriptor }) => kept.own(`${vif}.channels`, descriptor),
      onForgetChannels: (vif) => kept.forget(`${vif}.channels`),
      onAlive: () => beats++,
      onEnd: (error) => ends.push(error),
    });
    return { remote, ends, beats: () => beats };
  };
  const worker = async () => {
    const [near, far] = socketPair();
    const process = start(far);
    closeSync(far);
    const followed = follow(near);
    await soon(() => followed.remote.hello);
    return { ...process, ...followed, pid: process.child.pid! };
  };

  it('serves a vif with a tap, whose descriptor it stores; continues alone; and ends when asked to', async () => {
    const { child, ended, remote, beats, pid } = await worker();
    expect(remote.hello).toMatchObject({ protocol: LINK_PROTOCOL, pid, vifs: [] });
    // By this page a supervisor sees it die; and it writes no core dump before that.
    expect(readFileSync(`/proc/${pid}/maps`, 'utf8')).toContain('/memfd:vifd-liveness');
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +1 /m);
    // The kernel kills it before its supervisor.
    const [own, its] = ['self', pid].map((one) => Number(readFileSync(`/proc/${one}/oom_score_adj`, 'utf8')));
    expect(its).toBe(Math.min(own + 100, 1000));
    expect(await remote.found(PLACE, true)).toBe('waiting');
    expect(await remote.found(PLACE, false)).toBe('served');
    expect(await world.toolstack.read(`${PLACE.path}/state`)).toBe('2');
    expect(await remote.show('vif7.0')).toMatchObject({ state: 'waiting', port: 'vif7.0' });
    expect(kept.names).toEqual(['vif7.0']);
    expect(readlinkSync(`/proc/self/fd/${kept.get('vif7.0')}`)).toBe('/dev/net/tun');
    await soon(() => beats() > 1);
    // The supervisor ends, and the next one finds the worker.
    remote[Symbol.dispose]();
    kept.forget('vif7.0');
    expect(workersIn(options.journal as string)).toEqual([pid]);
    const next = follow(linkTo(options.journal as string, pid)!);
    await soon(() => next.remote.hello);
    next.remote.confirm(['vif7.0']);
    await soon(() => kept.names.length === 1);
    expect(next.remote.hello).toMatchObject({ pid, vifs: ['vif7.0'] });
    expect(child.exitCode).toBeNull();
    await next.remote.end();
    expect(await ended).toBe('0');
    await soon(() => next.ends.length);
    expect([next.ends, workersIn(options.journal as string)]).toEqual([[undefined], []]);
  });

  it('takes the tap with its descriptor from a worker that was killed, as soon as the lock is free', async () => {
    const first = await worker();
    const stored = new Map([['vif7.0', kept.get('vif7.0')!]]);
    expect(await first.remote.found(PLACE, false, stored)).toBe('served');
    const second = await worker();
    await expect(second.remote.found(PLACE, false, stored)).rejects.toMatchObject({ code: 'ERR_RUNNING' });
    first.child.kill('SIGKILL');
    await first.ended;
    expect(await second.remote.found(PLACE, false, stored)).toBe('served');
    expect(await second.remote.show('vif7.0')).toMatchObject({ port: 'vif7.0' });
    // SIGTERM to the worker alone.
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe('0');
    expect(existsSync('/sys/class/net/vif7.0')).toBe(true);
    await soon(() => second.ends.length);
    // Nothing that was logged lacks the worker's id.
    for (const line of second.output.trim().split('\n').filter(Boolean))
      expect(JSON.parse(line)).toMatchObject({ worker: second.pid });
  });

  it('refuses to run without a supervisor', async () => {
    const one = start('ignore');
    expect(await one.ended).toBe('1');
    expect(one.output).toMatch(/^ERR_ARGUMENT/);
  });
}

inOwnNetwork(import.meta.url, () => describe('a process of a worker', runTests));
