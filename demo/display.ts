import picocolors from 'picocolors';
import { machineMs } from './clock.js';
import { type Colours, gbits, picture, plainLine } from './draw.js';
import type { DemoOptions } from './options.js';
import type { Recorder } from './recorder.js';

/** Shows the run to people or programs. */
export interface Display {
  /** Shows a sentence about what happens now. */
  say(text: string): void;
  /** Begins to show the recorder's figures. */
  begin(recorder: Recorder): void;
  end(): void;
}

const REDRAW_MS = 100;
const LINE_MS = 1000;

export function displayFor(options: DemoOptions): Display {
  if (options.json) return jsonDisplay();
  return process.stdout.isTTY && process.env.NO_COLOR === undefined ? liveDisplay() : plainDisplay();
}

/** A block of lines that each update draws over. */
function liveDisplay(): Display {
  const colours: Colours = {
    bars: picocolors.cyan,
    kill: picocolors.red,
    faint: picocolors.dim,
  };
  let drawn = 0;
  const ticker = new Ticker(REDRAW_MS);
  const draw = (recorder: Recorder): void => {
    const lines = picture(recorder, process.stdout.columns || 80, colours);
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    process.stdout.write(`\x1b[?25l${up}\x1b[0J${lines.join('\n')}\n`);
    drawn = lines.length;
  };
  return {
    say: (text) => process.stdout.write(`${text}\n`),
    begin: (recorder) => ticker.start(() => draw(recorder)),
    end: () => {
      ticker.stop();
      if (drawn > 0) process.stdout.write('\x1b[?25h\n');
      drawn = 0;
    },
  };
}

function plainDisplay(): Display {
  const ticker = new Ticker(LINE_MS);
  return {
    say: (text) => process.stdout.write(`${text}\n`),
    begin: (recorder) => {
      const names = recorder.streams.map(({ ends }) => `${ends.from} → ${ends.to}`).join(', ');
      process.stdout.write(`streams: ${names}\n`);
      ticker.start(() => process.stdout.write(`${plainLine(recorder)}\n`));
    },
    end: () => ticker.stop(),
  };
}

function jsonDisplay(): Display {
  const ticker = new Ticker(LINE_MS);
  const sample = (recorder: Recorder): void => {
    const now = recorder.cellOf(machineMs());
    const streams = recorder.streams.map((stream) => ({
      ...stream.ends,
      gbits: Number(gbits(stream, now, LINE_MS / 100).toFixed(3)),
    }));
    const { resets, differingBytes, violations } = recorder;
    const counts = { restarts: recorder.restarts.length, resets, differingBytes, violations };
    const line = {
      schemaVersion: 1,
      event: 'sample',
      atMs: Math.round(recorder.elapsedMs),
      streams,
      ...counts,
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  };
  return {
    say: (text) => process.stderr.write(`${text}\n`),
    begin: (recorder) => ticker.start(() => sample(recorder)),
    end: () => ticker.stop(),
  };
}

class Ticker {
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  start(tick: () => void): void {
    this.stop();
    this.#timer = setInterval(tick, this.#everyMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
