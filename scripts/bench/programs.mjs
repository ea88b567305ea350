/** The options of `npm run bench` and of the programs beside it. test/bench/options.test.ts compares them with what each program reads. */
import { readFileSync } from 'node:fs';
import { file, oneOf, someOf, wholeNumber } from '../options.mjs';

const JSON_OPTION = { name: 'json', about: 'prints the result as JSON; progress goes to stderr' };
const WRITE_DOCS = { name: 'write-docs', about: 'writes the result into docs/benchmarks.md' };
const PAYLOAD = {
  name: 'payload',
  value: 'MODE',
  about: 'how frames cross: copy or map',
  check: oneOf('copy', 'map'),
};

/** The rows' names, as `--only` searches them. */
export const ROWS = ['from-guest', 'to-guest'].flatMap((direction) =>
  ['60 B 1', '60 B 16', '60 B 64', '1514 B 1', '1514 B 16', '1514 B 64', '64 KiB 1', '64 KiB 14'].map(
    (row) => `${direction} ${row}`,
  ),
);

/** What one guest does to another in `neighbours`. */
export const MODES = [
  ...[
    'none',
    'toggle',
    'noring',
    'rings',
    'watch',
    'wconnect',
    'events',
    'flick',
    'rxnone',
    'tx',
    'tx1',
    'txall',
  ],
  ...['txgso', 'txerr', 'ctlkey', 'ctlmap', 'ctlgref', 'ctlfrag', 'shares'],
];

/** How a worker dies in `gap --workers`. */
export const DEATHS = [
  ...['SIGKILL', 'SIGSEGV', 'SIGABRT', 'exception', 'SIGSTOP', 'busy loop', 'out of memory'],
  'SIGKILL twice',
];

export const SCHEMA_VERSION = 2;

export const BENCH = {
  command: 'npm run bench',
  about: `Measures vifd's data path beside the same work in C++: nanoseconds a frame, and the ratio of the two. It builds what is missing,
and then takes 7 to 15 minutes, or about one with --quick.`,
  options: [
    { name: 'quick', about: 'fewer processes and shorter rounds: a minute' },
    {
      name: 'only',
      value: 'TEXT',
      about: "only rows whose name has it: 'to-guest', '60 B 64', 'from-guest 64 KiB'",
      check: (text) =>
        ROWS.some((row) => row.includes(text))
          ? undefined
          : "a part of a row's name, such as 'to-guest 60 B 64'",
    },
    {
      name: 'compare',
      value: 'FILE',
      about: 'compares the ratios with those of a run that was saved by --json > FILE',
      check: (path) => file(path) ?? savedRun(path),
    },
    JSON_OPTION,
    { name: 'write-docs', about: 'writes the result into docs/benchmarks.md and docs/benchmarks-ratio.svg' },
  ],
  more: `Other programs, each with its own --help:
  npm run bench -- gap         how long after a SIGKILL the next process carries a frame
  npm run bench -- death       how soon after a SIGKILL the death of a process is seen
  npm run bench -- store       how many requests xenstored gets
  npm run bench -- neighbours  what a guest that attacks costs another
  npm run bench -- workers     what two busy guests get from two workers, and from one
  npm run bench -- stream      how long TCP streams are silent when a worker dies
  npm run bench -- memory      what supervisor, workers and standby need of memory
  npm run bench -- soak        thousands of SIGKILLs under TCP
  npm run bench -- steps       what each step brought that made the data path faster
  npm run bench:xen            beside the kernel's driver and QEMU's, on an emulated Xen`,
  check: (values) => {
    if (!values['write-docs']) return undefined;
    if (values.only !== undefined) return '--write-docs needs all rows: leave --only out.';
    return values.quick ? '--write-docs needs the whole run: leave --quick out.' : undefined;
  },
};

function savedRun(path) {
  const instead = 'a file that --json of this version has printed';
  try {
    return JSON.parse(readFileSync(path, 'utf8')).schemaVersion === SCHEMA_VERSION ? undefined : instead;
  } catch {
    return instead;
  }
}

/** Compiles commits of its own, and so is no program of bench/. */
export const STEPS_PROGRAM = {
  command: 'npm run bench -- steps',
  about: `Measures what each step brought that made the data path faster: builds the commits of scripts/bench/steps.mjs, and runs them in turns. It
takes 3 minutes to build them once, and then half a minute a round.`,
  options: [
    {
      name: 'rounds',
      value: 'N',
      about: 'how many processes of each commit (default: 7)',
      check: wholeNumber(1, 100),
    },
    { ...WRITE_DOCS, about: 'writes the table into docs/performance.md' },
  ],
};

/** By the word that selects the program. `runs` has the folders whose programs it starts: they are built as well. */
export const OTHERS = {
  gap: {
    command: 'npm run bench -- gap',
    about:
      'Kills vifd by SIGKILL, and measures how long after it the next process carries its first frame, in each direction.',
    options: [
      {
        name: 'workers',
        about: 'has a worker of `vifd run --workers` die instead, in each way in which it may',
      },
      {
        name: 'kills',
        value: 'N',
        about: 'how often (default: 100; with --workers 25 in each way)',
        check: wholeNumber(1, 100_000),
      },
      { ...PAYLOAD, about: `${PAYLOAD.about} (default: one after the other; with --workers copy)` },
      {
        name: 'death',
        value: 'TEXT',
        about: `with --workers: only ways whose name has it: ${DEATHS.join(', ')}`,
        check: (text) =>
          DEATHS.some((death) => death.includes(text)) ? undefined : `a part of ${DEATHS.join(', ')}`,
      },
      {
        name: 'vifs',
        value: 'N,N',
        about: 'with --workers: how many vifs the worker has, in turn (default: 1,32)',
        check: (text) =>
          text.split(',').every((count) => wholeNumber(1, 200)(count) === undefined)
            ? undefined
            : 'whole numbers from 1 to 200',
      },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  death: {
    command: 'npm run bench -- death',
    about:
      'Kills processes by SIGKILL, and measures how long after it another process sees each sign of the death. Takes a minute.',
    options: [
      {
        name: 'kills',
        value: 'N',
        about: 'how often of each kind (default: 15)',
        check: wholeNumber(1, 10_000),
      },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  soak: {
    command: 'npm run bench -- soak',
    about:
      'Kills vifd at random instants under TCP. Fails when a connection is reset, a byte differs, or a frontend finds a violation.',
    runs: ['demo'],
    options: [
      {
        name: 'kills',
        value: 'N',
        about: 'how often (default: 2000; with --workers 2200, 200 of them of the supervisor)',
        check: wholeNumber(1, 100_000),
      },
      { name: 'guests', value: 'N', about: 'how many guests (default: 2)', check: wholeNumber(1, 32) },
      {
        name: 'workers',
        value: 'N',
        about:
          'divides the guests among so many workers; kills these, and every eleventh time the supervisor',
        check: wholeNumber(1, 32),
      },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  neighbours: {
    command: 'npm run bench -- neighbours',
    about:
      'Measures what each attack of one guest does to the pings of another. Takes 20 minutes for all modes.',
    options: [
      {
        name: 'mode',
        value: 'A,B',
        about: `some of ${MODES.join(',')} (default: all)`,
        check: someOf(MODES),
      },
      { name: 'rounds', value: 'N', about: 'how often each mode (default: 5)', check: wholeNumber(1, 1000) },
      {
        name: 'pings',
        value: 'N',
        about: 'how many in a round (default: 1000)',
        check: wholeNumber(1, 100_000),
      },
      {
        name: 'every-ms',
        value: 'N',
        about: 'from one ping to the next (default: 5)',
        check: wholeNumber(1, 60_000),
      },
      { ...PAYLOAD, about: `${PAYLOAD.about} (default: copy)` },
      { name: 'workers', about: 'attacker and victim have a worker each' },
      {
        name: 'vifd',
        value: 'FILE',
        about: 'vifd.cjs of another checkout, in place of this one',
        check: file,
      },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  workers: {
    command: 'npm run bench -- workers',
    about: 'Measures what two busy guests get from two workers, and from one, in turns.',
    options: [
      {
        name: 'rounds',
        value: 'N',
        about: 'how often each (default: 7); one takes 10 s',
        check: wholeNumber(1, 1000),
      },
      { ...PAYLOAD, about: `${PAYLOAD.about} (default: copy)` },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  stream: {
    command: 'npm run bench -- stream',
    about:
      'Measures the longest silence of TCP streams while workers are killed, and as long without a death, in turns.',
    runs: ['demo'],
    options: [
      {
        name: 'rounds',
        value: 'N',
        about: 'how often each (default: 40); one takes 5 s',
        check: wholeNumber(1, 10_000),
      },
      { name: 'guests', value: 'N', about: 'how many guests (default: 2)', check: wholeNumber(1, 32) },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  memory: {
    command: 'npm run bench -- memory',
    about:
      'Measures the memory of a supervisor, a worker and a standby, and what they use of a processor while idle. Takes 5 minutes.',
    options: [
      {
        name: 'vifs',
        value: 'N',
        about: 'how many vifs the worker has in the end (default: 128)',
        check: wholeNumber(2, 1024),
      },
      {
        name: 'guests',
        value: 'N',
        about: 'how many guests have a worker each (default: 100); 0: leaves that out',
        check: wholeNumber(0, 1000),
      },
      JSON_OPTION,
      WRITE_DOCS,
    ],
  },
  store: {
    command: 'npm run bench -- store',
    about: 'Counts the requests that xenstored gets from vifd for each thing that happens to a vif.',
    options: [JSON_OPTION, WRITE_DOCS],
  },
};

export const BENCH_XEN = {
  command: 'npm run bench:xen',
  about:
    "Measures vifd, xen-netback and QEMU's netback at one guest in turns, on a real Xen in an emulator (lab/README.md).",
  options: [
    { name: 'quick', about: 'shorter measurements' },
    { name: 'rounds', value: 'N', about: 'how often each backend has its turn', check: wholeNumber(1, 1000) },
    { name: 'only', value: 'A,B', about: 'only these backends' },
    {
      name: 'against',
      value: 'NAME=CHECKOUT',
      about: 'measures another build of vifd too; may be given several times',
      multiple: true,
      check: (text) => (/^[^=]+=[^=]+$/.test(text) ? undefined : 'NAME=CHECKOUT'),
    },
    JSON_OPTION,
    WRITE_DOCS,
  ],
};
